"""Every setting of a training run, declared once: type, range, unit, default and its source."""

import dataclasses
import json
import typing
from typing import Annotated, Literal

import pydantic
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from keras_mixers import files
from keras_mixers.errors import SettingError, UsageError, did_you_mean
from keras_mixers.preprocessing import Preprocessing
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

    Paper: https://arxiv.org/abs/2105.01601, section 3 and Table 4. "big_vision" is Google's own
    configuration of it, https://github.com/google-research/big_vision
    (big_vision/configs/mlp_mixer_i1k.py).

    Raises:
        SettingError: A setting is out of range, or does not go with another.
    """

    # The model.
    model: str = "MLPMixerB16"
    """Name of the model's constructor in keras_mixers, such as SMLPNetT."""
    model_options: Annotated[tuple[ModelOption, ...], Field(strict=False)] = ()
    """More arguments of the model's constructor, such as hidden_dim=128 depths=(2,2)."""
    image_size: PositiveInt = 224
    """Height and width of the model's input, in pixels (section 3)."""
    drop_path_rate: Decay = 0.1
    """Stochastic depth: drop probability of the last block's residual, 0 to below 1 (Table 4)."""
    weights: str | None = None
    """Initial weights: name of published ones, a file, or an earlier run; None for random ones."""
    resize: Literal["interpolate", "block_diagonal"] = "interpolate"
    """How weights of another image size are resized; block_diagonal is MLP-Mixer's (appendix C)."""
    trained_blocks: NonNegativeInt | None = None
    """Number of last blocks trained beside the head, from 0; None for all, and the stem."""

    # The images.
    data: str = "imagenet2012"
    """Folder of images or of TFRecord shards, or name or folder of a tensorflow-datasets set."""
    data_dir: str = "~/tensorflow_datasets"
    """Folder or bucket where tensorflow-datasets has prepared a data set that is given by name."""
    train_split: str = "train"
    """Split of the data to train on; a part of it is written as train[:99%]."""
    validation_split: str = "validation"
    """Split of the data to evaluate on, in whole or in part, such as train[99%:]."""
    max_unreadable: Probability = 0.001
    """Largest share of a split's images that may be unreadable, from 0 to 1 (our choice)."""

    # What is done to a training image, in this order.
    crop_min_area: Share = 0.05
    """Smallest area of a random crop, as a share of the image, above 0 and up to 1 (big_vision)."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """Resizing: bilinear, antialiased in evaluation only (big_vision), or bicubic (timm)."""
    flip: bool = True
    """Whether a training image is mirrored left to right with a probability of 1/2 (section 3)."""
    randaugment: Literal["none", "fixed", "increasing"] = "fixed"
    """RandAugment: none, the Mixer paper's (fixed), or timm's noisy one (increasing)."""
    randaugment_layers: PositiveInt = 2
    """Number of RandAugment's operations per image (Table 4)."""
    randaugment_magnitude: NonNegativeFloat = 15.0
    """Strength of RandAugment's operations, from 0 up, on a scale of 10 (Table 4)."""
    color_jitter: Probability = 0.0
    """Largest change of brightness, contrast and saturation, from 0 to 1 (not in the paper)."""
    erasing: Probability = 0.0
    """Probability that a random rectangle of an image is erased, from 0 to 1 (not in the paper)."""
    mixup: NonNegativeFloat = 0.5
    """Alpha of the Beta distribution of MixUp's weights, from 0; 0 is off (Table 4)."""
    mixup_keeps_half: bool = True
    """Whether an image keeps a weight of at least 1/2 in MixUp (big_vision)."""
    cutmix: NonNegativeFloat = 0.0
    """Alpha of CutMix's Beta distribution, from 0; 0 is off; MixUp then has half of the pairs."""
    label_smoothing: Decay = 0.0
    """Share of each label that is spread over all classes, from 0 to below 1 (not in the paper)."""
    repeated_augmentation: PositiveInt = 1
    """How often an image occurs in a batch, each time augmented anew (not in the paper)."""
    mean: Numbers = (0.5,)
    """Subtracted from pixels scaled to [0, 1]: one number, or one per channel (big_vision)."""
    std: Numbers = (0.5,)
    """By what the difference is divided: one number, or one per channel (big_vision)."""
    eval_crop: Share = 0.875
    """Side of the central crop in evaluation, as a share of the shorter side (224 / 256)."""

    # Optimization.
    epochs: PositiveInt = 300
    """Number of passes over the training images (Table 4)."""
    batch_size: PositiveInt = 4096
    """Number of images per step, over all devices of all hosts together (section 3)."""
    gradient_accumulation_steps: PositiveInt = 1
    """Number of parts of a batch, computed one by one to save memory; it divides --batch-size."""
    loss: Literal["softmax", "sigmoid"] = "sigmoid"
    """Cross-entropy: softmax over the classes, or a sigmoid for each class (big_vision)."""
    head_bias: float = -6.9
    """Initial bias of the head; -6.9 makes each of 1,000 classes improbable (big_vision)."""
    optimizer: Literal["adamw", "lamb", "sgd"] = "adamw"
    """AdamW (section 3), LAMB (arXiv 1904.00962) or SGD with momentum; the decay is decoupled."""
    learning_rate: PositiveFloat = 1e-3
    """Learning rate at the end of the warm-up, above 0 (Table 4)."""
    layer_decay: Share = 1.0
    """Learning rate of a block as a share of the next one's, above 0 and up to 1 (BEiT)."""
    final_learning_rate: NonNegativeFloat = 1e-5
    """Learning rate of the last step, from 0 up (big_vision)."""
    schedule: Literal["linear", "cosine"] = "linear"
    """Decay of the learning rate after the warm-up: linear (section 3), or half a cosine."""
    warmup_epochs: NonNegativeFloat = 32.0
    """Length of the linear warm-up, in epochs, less than --epochs (10,000 steps; section 3)."""
    warmup_learning_rate: NonNegativeFloat = 0.0
    """Learning rate of the first step of the warm-up, from 0 up (our choice)."""
    beta_1: Decay = 0.9
    """Decay rate of Adam's mean of gradients; SGD's momentum; from 0 to below 1 (section 3)."""
    beta_2: Decay = 0.999
    """Decay rate of Adam's mean of squared gradients, from 0 to below 1 (section 3; big_vision)."""
    epsilon: PositiveFloat = 1e-8
    """Adam's epsilon, added to the denominator, above 0 (optax's default; LAMB: 1e-6)."""
    weight_decay: NonNegativeFloat = 0.1
    """Decoupled weight decay of kernels, times the learning rate, from 0 (Table 4)."""
    clip_norm: PositiveFloat | None = 1.0
    """Largest global norm of the gradient, above 0; None for no clipping (section 3)."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay rate per step of a moving average (EMA) of the weights, 0 to 1; None for no EMA."""
    remat: bool = False
    """Whether the backward pass computes activations inside residuals again, to save memory."""
    precision: Literal["auto", "float32", "mixed_bfloat16"] = "auto"
    """Precision of the computation; auto is mixed_bfloat16 on TPUs and GPUs, float32 on CPUs."""

    # The run.
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of weights, image order, augmentation and stochastic depth, from 0 to 2**32 - 1."""
    out: str = "runs/imagenet"
    """Run folder, on a disk or in a bucket; a run that it already holds is continued."""
    checkpoint_minutes: NonNegativeFloat = 10.0
    """Time between checkpoints, in minutes, from 0 up (our choice)."""
    checkpoint_steps: PositiveInt | None = None
    """Number of steps between checkpoints, beside those by time; None is by time only."""
    keep_checkpoints: PositiveInt = 3
    """Number of newest checkpoints that are kept (our choice)."""
    log_steps: PositiveInt = 50
    """Number of steps between lines of log.jsonl and points of TensorBoard (our choice)."""
    deterministic: bool = False
    """Whether runs on the same device give the same bits, at some cost (TensorFlow only)."""

    # The devices.
    tpu: bool = False
    """Whether to train on the TPU of this machine, or on the one of --tpu-name."""
    tpu_name: str | None = None
    """Name or grpc:// address of a TPU, or of a slice with several hosts (TensorFlow only)."""
    # The compiler keeps 1 MiB to itself; v5e has 128 MiB.
    tpu_scoped_vmem: Annotated[int, Field(ge=2048, le=131072)] | None = None
    """VMEM for one operation's tiles on JAX, from 2048 to 131072 KiB; None: the compiler's."""
    multi_host: bool = False
    """Whether this is one of several processes of a JAX job, as recipes/README.md describes."""
    cpu_devices: PositiveInt = 1
    """Number of logical devices made of the CPU, to try several replicas without accelerators."""

    @pydantic.model_validator(mode="after")
    def _agree(self):
        parts = self.gradient_accumulation_steps
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"--warmup-epochs must be less than --epochs {self.epochs}. "
                f"Received: {self.warmup_epochs:g}"
            )
        if self.batch_size % parts:
            raise ValueError(
                "--gradient-accumulation-steps must be a divisor of --batch-size "
                f"{self.batch_size}. Received: {parts}"
            )
        self.preprocessing  # noqa: B018  (raises where mean and std do not go together)
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
    def preprocessing(self):
        """The `Preprocessing` of evaluation, of which training shares size and scaling."""
        return Preprocessing(
            self.image_size, self.eval_crop, self.interpolation, self.mean, self.std
        )

    def with_preprocessing(self, preprocessing):
        """Returns these settings with the numbers of a `Preprocessing`, but for its size."""
        return dataclasses.replace(
            self,
            eval_crop=preprocessing.crop,
            interpolation=preprocessing.interpolation,
            mean=preprocessing.mean,
            std=preprocessing.std,
        )

    def model_arguments(self):
        """Returns `model_options` as a dict, values read as Python; what is none is a string."""
        return parsed(self.model_options)


# May differ between the runs of one folder: where and how safely, not what.
_FREE = (
    *("data", "data_dir", "out", "max_unreadable"),
    *("checkpoint_minutes", "checkpoint_steps", "keep_checkpoints", "log_steps"),
    *("tpu", "tpu_name", "multi_host", "cpu_devices", "remat", "tpu_scoped_vmem"),
)


def as_dict(config):
    """Returns the settings as a dict that JSON can hold."""
    return dataclasses.asdict(config)


def save(config, path):
    """Writes the settings to a JSON file."""
    files.write(path, json.dumps(as_dict(config), indent=2) + "\n")


def load(path):
    """Returns the settings in a JSON file that `save` wrote.

    Raises:
        UsageError: It is not such a file.
    """
    try:
        return from_dict(json.loads(path.read_text()))
    except (OSError, ValueError, SettingError) as error:
        raise UsageError(
            f"--config must be the config.json of a run. Received: {path}: {error}"
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
