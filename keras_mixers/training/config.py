"""Every setting of a training run, declared once: type, range, unit, default and its source."""

import dataclasses
import json
import typing
from typing import Annotated, Literal

import pydantic
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from keras_mixers import files
from keras_mixers.data.reading import Reading
from keras_mixers.errors import SettingError, UsageError, did_you_mean
from keras_mixers.preprocessing import Preprocessing
from keras_mixers.training.image_size import ImageSize
from keras_mixers.training.model_options import ModelOption, parsed

Probability = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Numbers = Annotated[tuple[float, ...], Field(strict=False, min_length=1)]  # JSON has lists.


@pydantic.dataclasses.dataclass(
    frozen=True, config=pydantic.ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
)
class TrainingConfig:
    """Settings of one run. Defaults: the ImageNet recipe of MLP-Mixer's paper, where it has one.

    In parentheses is the value of a source: the "Mixer paper" is https://arxiv.org/abs/2105.01601,
    "big_vision" is Google's own configuration of it, big_vision/configs/mlp_mixer_i1k.py in
    https://github.com/google-research/big_vision. A recipe may have another default.

    Raises:
        SettingError: A setting is out of range, or does not go with another.
    """

    # The model.
    model: str = "MLPMixerB16"
    """Name of the model's constructor in keras_mixers, such as SMLPNetT."""
    model_options: Annotated[tuple[ModelOption, ...], Field(strict=False)] = ()
    """Further arguments of the model's constructor, such as hidden_dim=128 depths=(2,2)."""
    image_size: ImageSize = 224
    """Height and width of the model's input, in pixels: 224, or 160x320 (Mixer paper: 224)."""
    channels: PositiveInt = 3
    """Channels of the model's input: 3, 1 for gray, or as many as .npy and TIFF files have."""
    drop_path_rate: Decay = 0.1
    """Stochastic depth: drop rate of the last block, 0 to below 1 (Mixer paper, Table 4: 0.1)."""
    weights: str | None = None
    """Weights to begin with: a published name, a file or a run folder; None for random ones."""
    resize: Literal["interpolate", "block_diagonal"] = "interpolate"
    """How weights of another image size are resized; block_diagonal: Mixer paper, Appendix C."""
    trained_blocks: NonNegativeInt | None = None
    """Number of last blocks to train beside the head, from 0; None trains the whole model."""

    # The images.
    data: str = "imagenet2012"
    """Folder of images or of TFRecord shards, or name or folder of a tensorflow-datasets set."""
    data_dir: str = "~/tensorflow_datasets"
    """Folder or bucket where tensorflow-datasets has prepared a data set that is given by name."""
    train_split: str = "train"
    """Split of the data to train on; a part of it is written as train[:99%]."""
    validation_split: str = "validation"
    """Split of the data to evaluate on, in whole or in part, such as train[99%:]."""
    image_key: str | None = None
    """Name of the image in each record of TFRecord files; None: what holds encoded images."""
    label_key: str | None = None
    """Name of the label in each record, or in a tensorflow-datasets set of several; None: found."""
    multi_label: bool = False
    """Whether an image may have several labels, or none; each is learned by itself."""
    label_separator: Annotated[str, Field(min_length=1)] | None = None
    """What separates several labels in a cell of a table; None: found, such as | or a comma."""
    max_unreadable: Probability | None = None
    """Largest share of a split that may be unreadable, 0 to 1; None: 0.001, or a few of a small."""
    max_megapixels: PositiveFloat = 400.0
    """Largest image that is decoded, in millions of pixels, above 0 (our choice: 400)."""

    # What is done to a training image, in this order.
    crop_min_area: Share = 0.05
    """Smallest area of a random crop, as a share of the image, above 0 (big_vision: 0.05)."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """How images are resized: bilinear, as in big_vision, or bicubic, as in timm."""
    flip: bool = True
    """Whether training images are mirrored half of the time (Mixer paper, section 3: True)."""
    randaugment: Literal["none", "fixed", "increasing"] = "fixed"
    """RandAugment: none, fixed (as in the Mixer paper), or increasing (with noise, as in timm)."""
    randaugment_layers: PositiveInt = 2
    """Number of RandAugment's operations per image, from 1 (Mixer paper, Table 4: 2)."""
    randaugment_magnitude: NonNegativeFloat = 15.0
    """Strength of RandAugment, from 0, on a scale of 10 (Mixer paper, Table 4: 15)."""
    color_jitter: Probability = 0.0
    """Largest change of brightness, contrast and saturation, 0 to 1 (Mixer paper: none)."""
    erasing: Probability = 0.0
    """Probability that a random rectangle of an image is erased, 0 to 1 (Mixer paper: none)."""
    mixup: NonNegativeFloat = 0.5
    """Alpha of MixUp's Beta distribution, from 0; 0 turns it off (Mixer paper, Table 4: 0.5)."""
    mixup_keeps_half: bool = True
    """Whether an image keeps a weight of at least 1/2 in MixUp (big_vision: True)."""
    cutmix: NonNegativeFloat = 0.0
    """Alpha of CutMix's Beta distribution, from 0; 0: none; with MixUp, each has half the pairs."""
    label_smoothing: Decay = 0.0
    """Share of each label that is spread over all classes, 0 to below 1 (Mixer paper: none)."""
    repeated_augmentation: PositiveInt = 1
    """Number of copies of an image in a batch, augmented anew, from 1 (Mixer paper: 1)."""
    mean: Numbers = (0.5,)
    """Mean subtracted from pixels in [0, 1]: one number, or one per channel (big_vision: 0.5)."""
    std: Numbers = (0.5,)
    """Standard deviation to divide pixels in [0, 1] by, above 0; as --mean (big_vision: 0.5)."""
    eval_crop: Share = 0.875
    """Central crop in evaluation, as a share of the shorter side, above 0 (big_vision: 0.875)."""
    crop_mode: Literal["center", "squash", "pad"] = "center"
    """What is seen of an image: its center, or all, squashed or padded (big_vision: center)."""
    value_range: Annotated[tuple[float, float], Field(strict=False)] | None = None
    """Numbers that become black and white in files of over 8 bits; None: what 16 bits can hold."""

    # Optimization.
    epochs: PositiveInt = 300
    """Number of passes over the training images, from 1 (Mixer paper, Table 4: 300)."""
    batch_size: PositiveInt = 4096
    """Number of images per step, on all devices of all hosts (Mixer paper, section 3: 4,096)."""
    gradient_accumulation_steps: PositiveInt = 1
    """Number of parts of a batch, computed one by one to save memory; it divides --batch-size."""
    loss: Literal["softmax", "sigmoid"] = "sigmoid"
    """Cross-entropy: softmax over the classes, or a sigmoid for each (big_vision: sigmoid)."""
    head_bias: float = -6.9
    """Initial bias of each class, any number; log(1 / 1000) is about -6.9 (big_vision: -6.9)."""
    optimizer: Literal["adamw", "lamb", "sgd"] = "adamw"
    """Optimizer; sgd has momentum, lamb is arXiv 1904.00962 (Mixer paper, section 3: adamw)."""
    learning_rate: PositiveFloat = 1e-3
    """Learning rate at the end of the warm-up, above 0 (Mixer paper, Table 4: 0.001)."""
    layer_decay: Share = 1.0
    """Learning rate of a block as a share of the next one's (BEiT), above 0; 1: no layer decay."""
    final_learning_rate: NonNegativeFloat = 1e-5
    """Learning rate of the last step, from 0 (big_vision: 1e-5)."""
    schedule: Literal["linear", "cosine"] = "linear"
    """Decay of the learning rate after the warm-up (Mixer paper, section 3: linear)."""
    warmup_epochs: NonNegativeFloat = 32.0
    """Linear warm-up, in epochs, from 0 (Mixer paper, section 3, 10,000 steps: 32)."""
    warmup_learning_rate: NonNegativeFloat = 0.0
    """Learning rate of the first step of the warm-up, from 0 (our choice: 0)."""
    beta_1: Decay = 0.9
    """Adam's beta_1, or SGD's momentum, from 0 to below 1 (Mixer paper, section 3: 0.9)."""
    beta_2: Decay = 0.999
    """Adam's beta_2, from 0 to below 1 (Mixer paper, section 3, and big_vision: 0.999)."""
    epsilon: PositiveFloat = 1e-8
    """Adam's epsilon, added to the denominator, above 0 (LAMB: 1e-6; optax: 1e-8)."""
    weight_decay: NonNegativeFloat = 0.1
    """Decoupled weight decay of kernels, times the rate, from 0 (Mixer paper, Table 4: 0.1)."""
    clip_norm: PositiveFloat | None = 1.0
    """Largest global norm of the gradient, above 0; None: no limit (Mixer paper, section 3: 1)."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay per step of the EMA of the weights, above 0 and below 1; None keeps no EMA."""
    remat: bool = False
    """Whether to recompute residuals in the backward pass (gradient checkpointing): less memory."""
    precision: Literal["auto", "float32", "mixed_bfloat16"] = "auto"
    """Precision of computation; auto is mixed_bfloat16 on TPUs and GPUs, float32 on CPUs."""

    # The run.
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of weights, image order, augmentation and stochastic depth, from 0 to 2**32 - 1."""
    out: str = "runs/imagenet"
    """Run folder, on a disk or in a bucket; a run that it already holds is continued."""
    checkpoint_minutes: NonNegativeFloat = 10.0
    """Time between checkpoints, in minutes, from 0 (our choice: 10)."""
    checkpoint_steps: PositiveInt | None = None
    """Number of steps between checkpoints, from 1, besides those by time; None: by time only."""
    keep_checkpoints: PositiveInt = 3
    """Number of newest checkpoints to keep, from 1 (our choice: 3)."""
    log_steps: PositiveInt = 50
    """Number of steps between entries in log.jsonl and TensorBoard, from 1 (our choice: 50)."""
    deterministic: bool = False
    """Whether runs on the same device give the same bits, at some cost (TensorFlow only)."""

    # The devices.
    tpu: bool = False
    """Whether to train on a TPU: the one of this machine, or of --tpu-name."""
    tpu_name: str | None = None
    """Name or grpc:// address of the TPU or slice, with --tpu (TensorFlow only); None: local."""
    # The compiler keeps 1 MiB to itself; v5e has 128 MiB.
    tpu_scoped_vmem: Annotated[int, Field(ge=2048, le=131072)] | None = None
    """VMEM for one operation's tiles, 2048 to 131072 KiB (JAX only); None: the compiler's."""
    multi_host: bool = False
    """Whether this is one of several processes of a JAX job, as recipes/README.md describes."""
    cpu_devices: PositiveInt = 1
    """Number of devices to split the CPU into, from 1, to try replicas without accelerators."""

    @pydantic.model_validator(mode="after")
    def _agree(self):
        parts = self.gradient_accumulation_steps
        if self.batch_size % parts:
            raise ValueError(
                "--gradient-accumulation-steps must be a divisor of --batch-size "
                f"{self.batch_size}. Received: {parts}"
            )
        if len(self.mean) != len(self.std):
            raise ValueError(
                "--mean must have as many numbers as --std, one or one per channel. "
                f"Received: {len(self.mean)} for --mean and {len(self.std)} for --std"
            )
        if len(self.mean) not in (1, 3, self.channels):
            raise ValueError(
                f"--mean and --std must have one number, or one for each of {self.channels} "
                f"channels. Received: {len(self.mean)}"
            )
        if self.channels not in (1, 3) and (self.randaugment != "none" or self.color_jitter):
            raise ValueError(
                f"--channels {self.channels} needs --randaugment none and --color-jitter 0, which "
                "are for colors."
            )
        if self.multi_label and self.loss != "sigmoid":
            raise ValueError(
                "--multi-label needs --loss sigmoid, by which each label is learned by itself. "
                f"Received: --loss {self.loss}"
            )
        self.preprocessing  # noqa: B018  (raises where a number of std is not above 0)
        if self.tpu_name and not self.tpu:
            raise ValueError("--tpu-name needs --tpu as well: add it.")
        return self

    @pydantic.model_validator(mode="wrap")
    @classmethod
    def _in_one_sentence(cls, values, validate):
        try:
            return validate(values)
        except pydantic.ValidationError as error:
            raise SettingError(_sentence(error)) from None

    @property
    def micro_batch_size(self):
        """Number of images computed on at once, over all devices together."""
        return self.batch_size // self.gradient_accumulation_steps

    @property
    def reading(self):
        """The `Reading` of the data."""
        return Reading(*(getattr(self, name) for name in Reading._fields))

    @property
    def preprocessing(self):
        """The `Preprocessing` of evaluation, of which training shares size and scaling."""
        return Preprocessing(
            self.image_size,
            self.eval_crop,
            self.interpolation,
            self.mean,
            self.std,
            self.crop_mode,
            self.value_range,
        ).for_channels(self.channels)

    @property
    def input_shape(self):
        """`(height, width, channels)` of the model's images."""
        return (*self.preprocessing.size, self.channels)

    @property
    def max_pixels(self):
        """Most pixels of an image that is decoded."""
        return round(self.max_megapixels * 1e6)

    def with_preprocessing(self, preprocessing):
        """Returns these settings with the numbers of a `Preprocessing`, but for its size."""
        return dataclasses.replace(
            self,
            eval_crop=preprocessing.crop,
            interpolation=preprocessing.interpolation,
            mean=preprocessing.mean,
            std=preprocessing.std,
            crop_mode=preprocessing.crop_mode,
            value_range=preprocessing.value_range,
        )

    def model_arguments(self):
        """Returns `model_options` as a dict, values read as Python; what is none is a string."""
        return parsed(self.model_options)


# May differ between the runs of one folder: where and how safely, not what.
_FREE = (
    *("data", "data_dir", "out", "max_unreadable", "max_megapixels"),
    *("checkpoint_minutes", "checkpoint_steps", "keep_checkpoints", "log_steps"),
    *("tpu", "tpu_name", "multi_host", "cpu_devices", "remat", "tpu_scoped_vmem"),
)


def as_dict(config):
    """Returns the settings as a dict that JSON can hold."""
    return dataclasses.asdict(config)


def save(config, path):
    """Writes the settings to a JSON file."""
    files.write(path, json.dumps(as_dict(config), indent=2) + "\n")


def load(path, called="--config"):
    """Returns the settings in a JSON file that `save` wrote; errors name it as it was `called`.

    Raises:
        UsageError: It is not such a file.
    """
    try:
        return from_dict(json.loads(path.read_text()))
    except (OSError, ValueError, SettingError) as error:
        raise UsageError(
            f"{called} must be the config.json of a run. Received: {path}: {error}"
        ) from None


def from_dict(settings):
    """Returns the settings in a dict that came through JSON.

    Raises:
        SettingError: It is no such dict.
    """
    if not isinstance(settings, dict):
        raise SettingError("it is no dict of settings")
    return TrainingConfig(**settings)


def differences(before, now):
    """Returns a line for each setting that must not change within a run, and has."""
    return [
        f"--{name.replace('_', '-')}: {old} in the folder, {new} now"
        for name, old in dataclasses.asdict(before).items()
        if name not in _FREE and (new := getattr(now, name)) != old
    ]


def _sentence(error):
    """Returns the first of pydantic's findings in one sentence, by the flag of the setting."""
    found = error.errors(include_url=False)[0]
    if not found["loc"]:  # What settings must agree in is a sentence already.
        return str(found["ctx"]["error"])
    name, kinds = found["loc"][0], typing.get_type_hints(TrainingConfig)
    if name not in kinds:
        return f"{name} is no setting.{did_you_mean(name, kinds)}"
    allowed = found["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if type(None) in typing.get_args(kinds[name]):
        allowed += ", or None"
    return f"--{name.replace('_', '-')} {allowed}. Received: {found['input']}"
