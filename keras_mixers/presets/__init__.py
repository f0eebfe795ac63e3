"""One published recipe a file: what to expect of it, by which source, and its settings."""

import dataclasses
import importlib
import pathlib

from keras_mixers.errors import UsageError, did_you_mean


def names():
    """Returns the names of the recipes."""
    folder = pathlib.Path(__file__).parent
    return sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")


def load(name):
    """Returns the `TrainingConfig` of a recipe, whose run folder is named after it.

    Raises:
        UsageError: There is no recipe of this name.
    """
    if name not in names():
        raise UsageError(
            f"--recipe must be one of {', '.join(names())}. Received: {name}."
            f"{did_you_mean(name, names())}"
        )
    config = importlib.import_module(f"keras_mixers.presets.{name}").CONFIG
    return dataclasses.replace(config, out=f"runs/{name}")
