"""Every setting of a training run, declared once: unit, default and where that comes from."""

import ast
import dataclasses
import json
import math
import typing
from typing import Literal

from keras_mixers import files
from keras_mixers.errors import UsageError, did_you_mean
from keras_mixers.preprocessing import Preprocessing


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Settings of one run. Defaults: the ImageNet recipe of MLP-Mixer's paper, where it has one.

    Paper: https://arxiv.org/abs/2105.01601, section 3 and Table 4. "big_vision" is Google's own
    configuration of it, https://github.com/google-research/big_vision
    (big_vision/configs/mlp_mixer_i1k.py).
    """

    # The model.
    model: str = "MLPMixerB16"
    """Constructor: any public one of keras_mixers, such as SMLPNetT."""
    model_options: tuple[str, ...] = ()
    """More arguments of the constructor, such as hidden_dim=128 depths=(2,2)."""
    image_size: int = 224
    """Height and width of the model's input, in pixels (section 3)."""
    drop_path_rate: float = 0.1
    """Stochastic depth: share of the residuals dropped in the last block, from 0 up (Table 4)."""
    weights: str | None = None
    """To begin with: a name of published ones, a file or an earlier run; None is random ones."""
    resize: Literal["interpolate", "block_diagonal"] = "interpolate"
    """How weights of another picture size are carried over; block_diagonal is MLP-Mixer's."""
    trained_blocks: int | None = None
    """Blocks that are trained beside the head, from the last one on; None is all, and the stem."""

    # The pictures.
    data: str = "imagenet2012"
    """Folder of pictures or TFRecord shards, or name or folder of a tensorflow-datasets set."""
    data_dir: str = "~/tensorflow_datasets"
    """Where tensorflow-datasets has prepared a data set given by its name: a folder or a bucket."""
    train_split: str = "train"
    """Pictures to train on; a part of them is written as train[:99%]."""
    validation_split: str = "validation"
    """Pictures to evaluate on, written in the same way."""
    max_bad_images: float = 0.001
    """Largest share of pictures that may turn out unreadable before the run stops (our choice)."""

    # What is done to a training picture, in this order.
    crop_min_area: float = 0.05
    """Smallest part of a picture that a random crop takes, as a share of its area (big_vision)."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """Of resizing: bilinear (big_vision), antialiased in evaluation only, or bicubic (timm)."""
    flip: bool = True
    """Mirror every other picture (section 3)."""
    randaugment: Literal["none", "fixed", "increasing"] = "fixed"
    """RandAugment: the Mixer paper's (fixed), or timm's, noisy and stronger by magnitude."""
    randaugment_layers: int = 2
    """Operations per picture (Table 4)."""
    randaugment_magnitude: float = 15.0
    """Strength of the operations, on a scale of 10 (Table 4)."""
    color_jitter: float = 0.0
    """Largest change of brightness, contrast and saturation, as a share (not in the paper)."""
    erasing: float = 0.0
    """Probability of erasing a rectangle of a picture (not in the paper)."""
    mixup: float = 0.5
    """Alpha of MixUp's Beta distribution; 0 is no MixUp (Table 4)."""
    mixup_keeps_half: bool = True
    """A picture keeps at least half of itself in MixUp (big_vision)."""
    cutmix: float = 0.0
    """Alpha of CutMix' Beta distribution; 0 is no CutMix. With MixUp: each half of the time."""
    label_smoothing: float = 0.0
    """Share of each label spread over all classes (not in the paper)."""
    repeated_augmentation: int = 1
    """How often a picture occurs in a batch, each time augmented anew (not in the paper)."""
    mean: tuple[float, ...] = (0.5,)
    """What is taken from pixels scaled to [0, 1]: one number, or one per channel (big_vision)."""
    std: tuple[float, ...] = (0.5,)
    """By what the difference is divided: one number, or one per channel (big_vision)."""
    eval_crop: float = 0.875
    """Side of the central crop in evaluation, as a share of the shorter side (224 / 256)."""

    # Optimisation.
    epochs: int = 300
    """Passes over the training pictures (Table 4)."""
    batch_size: int = 4096
    """Pictures per step, over all devices of all hosts together (section 3)."""
    accumulation: int = 1
    """Parts that a batch is worked off in, one after the other, where memory is short."""
    loss: Literal["softmax", "sigmoid"] = "sigmoid"
    """Cross-entropy of one class among all, or of each class by itself (big_vision)."""
    head_bias: float = -6.9
    """First bias of the head; -6.9 makes every class of 1,000 unlikely (big_vision)."""
    optimizer: Literal["adamw", "lamb", "sgd"] = "adamw"
    """Adam with decoupled decay (section 3), LAMB (arXiv 1904.00962), or SGD with momentum."""
    learning_rate: float = 1e-3
    """At the end of the warm-up (Table 4)."""
    layer_decay: float = 1.0
    """Learning rate of a block as a share of the next one's; 1 is the same for all."""
    final_learning_rate: float = 1e-5
    """At the last step (big_vision)."""
    schedule: Literal["linear", "cosine"] = "linear"
    """Way from the one to the other (section 3)."""
    warmup_epochs: float = 32.0
    """Of linear rise (10,000 steps of 4,096 pictures; section 3)."""
    warmup_learning_rate: float = 0.0
    """At the first step of the warm-up."""
    beta_1: float = 0.9
    """Decay of the mean of the gradients (section 3; big_vision); SGD's momentum."""
    beta_2: float = 0.999
    """Decay of the mean of their squares (section 3; big_vision)."""
    epsilon: float = 1e-8
    """Added to the root of the latter (big_vision, by optax' default; LAMB's paper has 1e-6)."""
    weight_decay: float = 0.1
    """Decoupled, times the learning rate, on kernels only (Table 4)."""
    clip_norm: float | None = 1.0
    """Largest global norm of the gradient (section 3)."""
    ema_decay: float | None = None
    """Of a moving average of the weights, per step, evaluated beside them (not in the paper)."""
    remat: bool = False
    """Compute the insides of residuals again in the backward pass, where memory is short."""
    precision: Literal["auto", "float32", "mixed_bfloat16"] = "auto"
    """Of the arithmetic; auto is mixed_bfloat16 on TPUs and GPUs, float32 on CPUs."""

    # The run.
    seed: int = 0
    """Of the initial weights, the order of the pictures, the augmentation and the dropping."""
    out: str = "runs/imagenet"
    """Run folder; what it already holds is continued."""
    checkpoint_minutes: float = 10.0
    """Time between checkpoints (our choice)."""
    checkpoint_steps: int | None = None
    """Steps between checkpoints, beside those by time."""
    keep_checkpoints: int = 3
    """The newest ones are kept (our choice)."""
    log_steps: int = 50
    """Steps between lines of the log and points of TensorBoard."""
    deterministic: bool = False
    """Same bits every time on the same device, at some cost (TensorFlow only)."""

    # The devices.
    tpu: bool = False
    """Train on the TPU of this machine, or on the one given by --tpu-name."""
    tpu_name: str | None = None
    """Name or grpc:// address of a TPU or of a slice with several hosts."""
    tpu_scoped_vmem: int | None = None
    """KiB of a TPU's VMEM for one operation's tiles, on JAX; None is the compiler's own choice."""
    multi_host: bool = False
    """One of several processes of a JAX job; see recipes/README.md."""
    cpu_devices: int = 1
    """Logical devices to make of the CPU, to try several replicas without accelerators."""

    @property
    def micro_batch_size(self):
        """Pictures worked on at once, over all devices together."""
        return self.batch_size // self.accumulation

    @property
    def preprocessing(self):
        """The `Preprocessing` of evaluation, of which training shares size and scaling."""
        return Preprocessing(
            self.image_size, self.eval_crop, self.interpolation, self.mean, self.std
        )

    def with_preprocessing(self, preprocessing):
        """Returns these settings with the numbers of a `Preprocessing`."""
        return dataclasses.replace(
            self,
            image_size=preprocessing.image_size,
            eval_crop=preprocessing.crop,
            interpolation=preprocessing.interpolation,
            mean=preprocessing.mean,
            std=preprocessing.std,
        )

    def model_arguments(self):
        """Returns `model_options` as a dict, values read as Python; what is none is a string."""
        pairs = (option.partition("=") for option in self.model_options)
        return {name: _python_value(value) for name, _, value in pairs}


BY_OTHER_SETTINGS = {
    "input_shape": "give --image-size",
    "classes": "they are the data's",
    "classifier_activation": "--loss takes logits",
    "drop_path_rate": "give --drop-path-rate",
    "include_preprocessing": "images are trained on as pixels",
    "include_top": "a classifier is what is trained",
    "pooling": "it is for models without a classifier",
    "preprocessing": "give --mean and --std",
    "input_tensor": "the pictures are the input",
    "weights": "give --weights",
    "resize": "give --resize",
}

# May differ between the runs of one folder: where and how safely, not what.
_FREE = (
    *("data", "data_dir", "out", "max_bad_images"),
    *("checkpoint_minutes", "checkpoint_steps", "keep_checkpoints", "log_steps"),
    *("tpu", "tpu_name", "multi_host", "cpu_devices", "remat", "tpu_scoped_vmem"),
)


def check(config):
    """Raises a `UsageError` where a setting is out of range."""
    for name, value in as_dict(config).items():
        finite = not isinstance(value, float) or math.isfinite(value)
        _require(finite, config, name, "a finite number")
    positive = ("image_size", "epochs", "batch_size", "accumulation", "repeated_augmentation")
    positive += ("keep_checkpoints", "log_steps", "cpu_devices", "learning_rate", "epsilon")
    for name in (*positive, "checkpoint_steps", "clip_norm", "randaugment_layers"):
        value = getattr(config, name)
        _require(value is None or value > 0, config, name, "greater than 0")
    for name in ("warmup_epochs", "weight_decay", "final_learning_rate", "warmup_learning_rate"):
        _require(getattr(config, name) >= 0, config, name, "0 or more")
    for name in ("mixup", "cutmix", "randaugment_magnitude", "checkpoint_minutes"):
        _require(getattr(config, name) >= 0, config, name, "0 or more")
    blocks = config.trained_blocks is None or config.trained_blocks >= 0
    _require(blocks, config, "trained_blocks", "0 or more, or None for all")
    for name in ("label_smoothing", "drop_path_rate", "beta_1", "beta_2"):
        _require(0 <= getattr(config, name) < 1, config, name, "from 0 to less than 1")
    average = config.ema_decay is None or 0 < config.ema_decay < 1
    _require(average, config, "ema_decay", "greater than 0 and less than 1, or None for no average")
    for name in ("crop_min_area", "eval_crop", "layer_decay"):
        _require(0 < getattr(config, name) <= 1, config, name, "greater than 0, at most 1")
    for name in ("erasing", "color_jitter", "max_bad_images"):
        _require(0 <= getattr(config, name) <= 1, config, name, "from 0 to 1")
    # The compiler keeps 1 MiB to itself; v5e has 128 MiB.
    vmem = config.tpu_scoped_vmem is None or 2048 <= config.tpu_scoped_vmem <= 131072
    _require(vmem, config, "tpu_scoped_vmem", "from 2048 to 131072 KiB, or None")
    _require(0 <= config.seed < 2**32, config, "seed", "from 0 to less than 2**32")
    _require(config.warmup_epochs < config.epochs, config, "warmup_epochs", "less than --epochs")
    _require(
        config.batch_size % config.accumulation == 0,
        config,
        "accumulation",
        f"a divisor of --batch-size {config.batch_size}",
    )
    try:
        config.preprocessing  # noqa: B018  (its own checks)
    except ValueError as error:
        raise UsageError(str(error)) from None
    for option in config.model_options:
        name, equals, _ = option.partition("=")
        if not (equals and name.isidentifier()):
            raise UsageError(f"--model-options must be like hidden_dim=128. Received: {option}")
        if name in BY_OTHER_SETTINGS:
            raise UsageError(
                f"--model-options must not hold {name}: {BY_OTHER_SETTINGS[name]}. "
                f"Received: {option}"
            )
    if config.tpu_name and not config.tpu:
        raise UsageError("--tpu-name needs --tpu as well: add it.")


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
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--config must be the config.json of a run. Received: {path}: {error}"
        ) from None


def from_dict(settings):
    """Returns the settings in a dict that came through JSON.

    Raises:
        ValueError: It is no such dict.
    """
    if not isinstance(settings, dict):
        raise ValueError("it is no dict of settings")
    kinds = typing.get_type_hints(TrainingConfig)
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    for name, value in settings.items():
        if name not in kinds:
            raise ValueError(f"{name} is no setting.{did_you_mean(name, kinds)}")
        if not _is_of(kinds[name], value):
            raise ValueError(f"{name} is {value!r}")
    return TrainingConfig(**settings)


def differences(before, now):
    """Returns a line for each setting that must not change within a run, and has."""
    return [
        f"--{name.replace('_', '-')}: {old} in the folder, {new} now"
        for name, old in dataclasses.asdict(before).items()
        if name not in _FREE and (new := getattr(now, name)) != old
    ]


def _is_of(kind, value):
    """Whether a value read from JSON is of the type of a setting."""
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        return value in arguments
    if typing.get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_is_of(arguments[0], item) for item in value)
    if arguments:
        return any(_is_of(one, value) for one in arguments)
    if kind in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if kind is float else kind)


def _python_value(text):
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def _require(holds, config, name, allowed):
    if not holds:
        flag = "--" + name.replace("_", "-")
        raise UsageError(f"{flag} must be {allowed}. Received: {getattr(config, name)}")
