"""How images are prepared for a weight file whose names do not tell."""

import json
import os

from keras_mixers.preprocessing import Preprocessing
from keras_mixers.weights.published import PUBLISHED

_MAX_CONFIG = 1_000_000  # Bytes.


def preprocessing(path, classes=None):
    """Returns the `Preprocessing` that a weight file expects, or None where nothing says it.

    What says it: a config.json beside the file, as timm publishes it; or the table of published
    weights, where the file has the name of one of its own, or a head of a size that only one has.

    Args:
        path: Of the file.
        classes: Of its head, or None.
    """
    return _by_timm(path) or _by_name(path) or _by_head(classes)


def _by_timm(path):
    """What timm's own config.json says: mean, std, crop and interpolation of `pretrained_cfg`."""
    beside = os.path.join(os.path.dirname(path), "config.json")
    try:
        if os.path.getsize(beside) > _MAX_CONFIG:
            return None
        with open(beside, encoding="utf-8") as file:
            about = json.load(file)["pretrained_cfg"]
        return Preprocessing(
            image_size=tuple(about["input_size"][1:]),
            crop=about["crop_pct"],
            interpolation=about["interpolation"],
            mean=about["mean"],
            std=about["std"],
        )
    except (OSError, RecursionError, ValueError, KeyError, TypeError):
        return None


def _by_name(path):
    """Of the file that has a name of a published one, or is in the folder of its repository."""
    *folders, file = os.path.abspath(path).split(os.sep)
    stem, _ = os.path.splitext(file)
    for variant, weights in PUBLISHED.items():
        for name, about in weights.items():
            # As a clone is named, and as the hub's client names the folders of its cache.
            is_in = folders[-1] in about.names or any(
                f"models--timm--{known}" in folders for known in about.names
            )
            if is_in or stem in (f"{variant}_{name}", *about.names):
                return about.preprocessing
    return None


def _by_head(classes):
    having = [
        about.preprocessing
        for weights in PUBLISHED.values()
        for about in weights.values()
        if about.classes == classes
    ]
    return having[0] if len(having) == 1 else None
