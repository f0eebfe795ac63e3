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
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _by_name(path):
    parts = os.path.abspath(path).split(os.sep)
    for variant, weights in PUBLISHED.items():
        for name, about in weights.items():
            *_, repository, _, _, _ = about.url.split("/")
            is_ours = parts[-1].startswith(f"{variant}_{name}.")
            # As a hub's client names its folders: models--timm--mixer_b16_224.miil_in21k.
            if is_ours or any(part.split("--")[-1] == repository for part in parts):
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
