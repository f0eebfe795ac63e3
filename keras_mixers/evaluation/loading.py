"""Reads what was trained, of any kind, as a function from images to the last layer's numbers."""

import dataclasses
import typing

from keras_mixers.errors import RunError, SettingError, UsageError, first_line
from keras_mixers.evaluation import exported
from keras_mixers.preprocessing import Preprocessing
from keras_mixers.training import config as settings
from keras_mixers.training import run_folder

KINDS = "a run folder, a checkpoint (.npz), a .keras or .tflite file, or the folder of a SavedModel"


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model of any kind, ready to be evaluated."""

    name: str
    predict: typing.Callable
    """From an array of images to an array of outputs."""
    input_shape: tuple
    """`(batch, height, width, channels)`; None where any will do."""
    output_shape: tuple
    config: settings.TrainingConfig | None = None
    """What it was trained with, where the file says so."""
    class_names: tuple | None = None
    """Of its outputs, where the file says so."""
    model: typing.Any = None
    """The `keras.Model`, if it is one."""
    takes_pixels: bool = False
    """Whether its input is uint8 pixels, and not real numbers."""
    preprocessing: Preprocessing | None = None
    """Of its images, where the file says so."""
    includes_preprocessing: bool = False
    """Whether it takes pixels of 0 to 255 and scales them itself."""
    multi_label: bool = False
    """Whether it gives an image several labels, or none, where the file says so."""
    thresholds: tuple | None = None
    """Of such a model: the probability of each label from which on it is given, if it says so."""
    probabilities_by: str | None = None
    """What makes probabilities of the outputs of an exported file, as it says itself."""
    scaling_note: str | None = None
    """Where it scales images in a way of its own: a clause that says so, "the model ..."."""


def read_model(path, ema=False, warn=print):
    """Returns the `LoadedModel` at an `epath.Path`.

    Args:
        path: What `KINDS` says.
        ema: Whether the EMA of a run's weights is wanted, instead of the weights themselves.
        warn: Called with a sentence for each checkpoint that is damaged.

    Raises:
        UsageError: There is none, or not the one that was asked for.
    """
    if not path.exists():
        raise UsageError(f"MODEL must be {KINDS}. There is nothing at {path}")
    if path.suffix == ".npz":
        return _from_checkpoint(path, ema)
    if path.is_dir() and not (path / "saved_model.pb").exists():
        return _from_run(path, ema, warn)
    if ema:
        raise UsageError(
            "--ema needs a run folder or a checkpoint (.npz); in a run folder, "
            f"model_ema.keras has the EMA of its weights. Received: {path}"
        )
    readers = {".keras": _from_keras, ".tflite": _from_tflite}
    reader = _from_saved_model if path.is_dir() else readers.get(path.suffix)
    if reader is None:
        raise UsageError(f"MODEL must be {KINDS}. Received: {path}")
    try:
        return reader(path)
    except Exception as error:  # Whatever is in the file, the user needs one sentence.
        raise UsageError(f"MODEL must be {KINDS}. Received {path}: {first_line(error)}") from None


def _from_run(folder, ema, warn):
    from keras_mixers.training.checkpoints import Checkpoints

    try:
        newest = Checkpoints(folder / "checkpoints", keep=1).load_newest(warn)
    except RunError:
        raise UsageError(f"All checkpoints in {folder}/checkpoints are damaged.") from None
    if newest is None and (folder / "model.keras").exists() and not ema:
        return _from_model_of_run(folder)
    if newest is None:
        raise UsageError(
            f"MODEL must be {KINDS}. The folder {folder} holds neither saved_model.pb nor "
            "checkpoints/step-*.npz nor model.keras"
        )
    step, *found = newest
    return _rebuild(f"{folder}, step {step:,}", *found, ema)


def _from_model_of_run(folder):
    """Of a run that leaves no checkpoints, as keras-mixers digits."""
    loaded = read_model(folder / "model.keras")
    config = folder / "config.json"
    return dataclasses.replace(
        loaded,
        config=settings.load(config, "MODEL") if config.exists() else None,
        class_names=run_folder.class_names(folder),
        thresholds=run_folder.thresholds(folder / "model.keras"),
    )


def _from_checkpoint(path, ema):
    from keras_mixers.training.checkpoints import load

    try:
        return _rebuild(str(path), *load(path), ema)
    except RunError as error:
        raise UsageError(str(error)) from None


def _rebuild(name, state, about, ema):
    from keras_mixers.training.model import build

    try:
        config = settings.from_dict(about["config"])
        class_names = tuple(about["data"]["class_names"])
        model = build(config, len(class_names))
        if not ema:
            _assign(model.trainable_variables, state["trainable"])
            _assign(model.non_trainable_variables, state["non_trainable"])
        elif config.ema_decay:
            _assign(model.weights, state["average"])
    except (KeyError, TypeError, ValueError, AttributeError, SettingError) as error:
        raise UsageError(f"{name} is no checkpoint of this version: {first_line(error)}") from None
    if ema and not config.ema_decay:
        raise UsageError(f"--ema needs a run with --ema-decay. Received: {name}")
    loaded = of_keras(model, f"{name}, EMA" if ema else name, config)
    thresholds = about.get("thresholds", {}).get("ema" if ema else "val")
    return dataclasses.replace(loaded, class_names=class_names, thresholds=thresholds)


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _from_keras(path):
    import keras

    import keras_mixers  # noqa: F401  (registers the layers)

    loaded = of_keras(keras.models.load_model(path, compile=False, safe_mode=True), str(path))
    return dataclasses.replace(loaded, thresholds=run_folder.thresholds(path))


def of_keras(model, name, config=None):
    """Returns the `LoadedModel` of a `keras.Model` with one input and one output.

    Raises:
        ValueError: It has others.
    """
    if any(len(getattr(model, ends, None) or ()) != 1 for ends in ("inputs", "outputs")):
        raise ValueError("it must be a built model with one input and one output")
    from keras_mixers.preprocessing import own_scaling

    scaling = own_scaling.of(model)
    shapes = model.input_shape, model.output_shape
    return LoadedModel(
        name,
        model.predict_on_batch,
        *shapes,
        config,
        model=model,
        preprocessing=scaling.preprocessing,
        includes_preprocessing=scaling.included,
        scaling_note=scaling.note,
    )


def _from_tflite(path):
    from keras_mixers.evaluation.litert import LiteRTModel

    model = LiteRTModel(path)
    shapes = model.input_shape, model.output_shape
    about, labels = exported.read_tflite(path)
    preprocessing, included = exported.preprocessing_of(about)
    return LoadedModel(
        str(path),
        model.predict,
        *shapes,
        class_names=labels and tuple(labels),
        takes_pixels=model.takes_pixels,
        preprocessing=preprocessing,
        includes_preprocessing=included,
        **exported.labels_of(about),
    )


def _from_saved_model(path):
    from keras_mixers.evaluation.saved_model import LoadedSavedModel

    model = LoadedSavedModel(path)
    return LoadedModel(
        str(path),
        model.predict,
        model.input_shape,
        model.output_shape,
        class_names=model.labels,
        preprocessing=model.preprocessing,
        includes_preprocessing=model.includes_preprocessing,
        **model.about_labels,
    )
