"""What a run folder holds beside the checkpoints and the log: the configuration, the models."""

import contextlib
import json
import pathlib
import tempfile

from keras_mixers import files
from keras_mixers.errors import SettingError, UsageError
from keras_mixers.training import config as config_module
from keras_mixers.training.checkpoints import Checkpoints

_WEIGHTS = {"model.keras": "val", "model_ema.keras": "ema"}
"""Model files, with the evaluation of their weights in a training."""


def save_class_names(folder, names):
    """Writes labels.txt, a class a line, in the order of the model's outputs."""
    files.write(folder / "labels.txt", "\n".join(names) + "\n")


def class_names(folder):
    """Returns what `save_class_names` wrote, or None where there is no labels.txt."""
    path = folder / "labels.txt"
    if not path.exists():
        return None
    return tuple(path.read_text().removesuffix("\n").split("\n"))


def save_thresholds(folder, names, thresholds):
    """Writes thresholds.json, from which probability on an image has a label, if they are known.

    Args:
        folder: `epath.Path`.
        names: Of the classes.
        thresholds: As `loop.train` finds them: lists in the order of `names`, by the weights.
    """
    found = {
        file: dict(zip(names, thresholds[prefix], strict=True))
        for file, prefix in _WEIGHTS.items()
        if prefix in thresholds
    }
    if found:
        files.write(folder / "thresholds.json", json.dumps(found, indent=1) + "\n")


def thresholds(path):
    """Returns the thresholds of a model file of a run, in the order of its classes, or None."""
    file = path.parent / "thresholds.json"
    if path.name not in _WEIGHTS or not file.exists():
        return None
    try:
        return tuple(map(float, json.loads(file.read_text())[path.name].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise UsageError(
            f"{file} must hold a number for each class, as the training wrote them: remove it, and "
            "a probability of 0.5 counts."
        ) from None


def save_models(engine, folder, ema):
    """Writes model.keras and, with an EMA of the weights, model_ema.keras, complete or not.

    All processes of a job must call this together; the first one writes. `sync_model` is to follow.
    """
    _save_model(engine, folder / "model.keras")
    if ema:
        engine.with_ema(lambda: _save_model(engine, folder / "model_ema.keras"))


def _save_model(engine, path):
    engine.sync_model()
    if not engine.is_chief:
        return
    with tempfile.TemporaryDirectory() as scratch:
        local = pathlib.Path(scratch, path.name)
        engine.model.save(local)
        files.write(path, local.read_bytes())


def begins(folder):
    """Returns whether the run begins: there is no checkpoint in its folder."""
    return not Checkpoints(folder / "checkpoints", keep=1).paths()


def earlier_config(folder):
    """Returns the `TrainingConfig` of the run that goes on here, or None where it begins."""
    with contextlib.suppress(OSError, UsageError):
        return None if begins(folder) else config_module.load(folder / "config.json")
    return None


def check(folder, config):
    """Raises a `UsageError` where the folder belongs to a run of another configuration."""
    checkpoints = Checkpoints(folder / "checkpoints", keep=1)
    # A start that failed before its first step leaves the configuration, and none of these.
    left = ("log.jsonl", "model.keras")
    if checkpoints.paths() or any((folder / name).exists() for name in left):
        before = _settings(folder / "config.json", checkpoints)
        if before is not None:
            require_same(before, config, folder)


def save(folder, config, class_names):
    """Writes what a run is of: the configuration, and the names of the classes."""
    config_module.save(config, folder / "config.json")
    save_class_names(folder, class_names)


def _settings(path, checkpoints):
    """Those in config.json; where it is lost or cut off, each checkpoint has them, if any."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_text())
    found = checkpoints.load_newest(lambda sentence: None)
    return found and found[2]["config"]


def about_data(training, validation):
    """Returns what must not change of the data within a run, for JSON."""
    return {
        "class_names": list(training.class_names),
        "training": len(training),
        "validation": len(validation),
    }


def require_same_data(before, now, last):
    """Raises a `UsageError` where a run must not be continued with this data.

    Args:
        before: What `about_data` returned when the run began.
        now: What it returns now.
        last: What the run goes on from, for people.
    """
    if before != now:
        raise UsageError(
            f"--data must be what the run of {last} was started with, {_data_line(before)} of the "
            f"same names, or give another --out. Received: {_data_line(now)}"
        )


def _data_line(about):
    return (
        f"{about['training']:,} images and {about['validation']:,} for validation, in "
        f"{len(about['class_names'])} classes"
    )


def require_same(before, config, folder):
    """Raises a `UsageError` where a run must not be continued with this configuration.

    Args:
        before: The run's settings, as a dict that came through JSON.
        config: The `TrainingConfig` now.
        folder: Where the run is.
    """
    try:
        before = config_module.from_dict(before)
    except SettingError as error:
        raise UsageError(
            f"--out: {folder} is of another version of this command ({error}): give another folder."
        ) from None
    differing = config_module.differences(before, config)
    if differing:
        raise UsageError(
            f"--out: {folder} holds a run of another configuration; give another folder, or that "
            "run's settings, which are in its config.json. They differ in:\n  "
            + "\n  ".join(differing)
        )
