"""keras-mixers imagenet on a few small images."""

import json
import pathlib

import numpy as np
from PIL import Image

from keras_mixers.commands import imagenet

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = [
    *("--recipe", "digits_mixer", "--image-size", "24", "--batch-size", "8", "--epochs", "4"),
    *("--model-options", "patch_size=8", "hidden_dim=16", "num_blocks=1"),
    *("tokens_mlp_dim=8", "channels_mlp_dim=16"),
    *("--log-steps", "2", "--learning-rate", "0.02"),
]


# Half of the epochs, and half of the evaluation.
SHORTER = ("--epochs", "2", "--ema-decay", "None")


def run(folder, out, *arguments):
    return imagenet.main([*SMALL, "--data", str(folder), "--out", str(out), *arguments])


def draw_nothing(patch):
    """Has runs draw neither the images that they begin with nor their curves: a third of them.

    Args:
        patch: A `pytest.MonkeyPatch`.
    """
    from keras_mixers.training import plots

    blank = np.zeros((2, 8, 8, 3), "uint8")
    patch.setattr(plots, "preview", lambda *_: (blank, set()))
    patch.setattr(plots, "_draw_run", lambda *_: None)


def log(out, kind):
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def size_of(path):
    with Image.open(path) as image:
        return min(image.size)
