"""Pictures for a tool: which data, and prepared as the model was trained."""

import dataclasses
import sys

import numpy as np

from keras_mixers import files
from keras_mixers.errors import RunError, UsageError
from keras_mixers.preprocessing import INTERPOLATIONS
from keras_mixers.training import config as settings

DIGITS = "digits"


def add_options(parser, data_required=False, data_default=""):
    """Adds what says where pictures are and how they are prepared to an `ArgumentParser`."""
    usual = settings.TrainingConfig()
    add = parser.add_argument
    shown = f"folder of pictures or shards, a tensorflow-datasets name, or {DIGITS}{data_default}"
    add("--data", required=data_required, help=shown)
    add("--data-dir", default=usual.data_dir, help="of tensorflow-datasets (default: %(default)s)")
    add("--config", metavar="FILE", help="a run's config.json, for a model file elsewhere")
    shown = "resizing of images (default: the model's, else bilinear)"
    add("--interpolation", choices=INTERPOLATIONS, help=shown)
    for name in ("mean", "std"):
        shown = f"{name} of pixels in [0, 1]: one number, or one per channel"
        shown += " (default: the model's, else 0.5)"
        add(f"--{name}", type=float, nargs="+", metavar="X", help=shown)
    shown = "side of the central crop, as a share of the image's shorter side"
    add("--eval-crop", type=float, metavar="SHARE", help=f"{shown} (default: the model's)")
    shown = "largest share of unreadable pictures (default: %(default)s)"
    add("--max-bad-images", type=float, default=usual.max_bad_images, metavar="SHARE", help=shown)


def run_config(args, model, warn):
    """Returns the `TrainingConfig` that `model`, a `LoadedModel`, was trained by, or None.

    It is the model's own, or the file in `args.config`, or the config.json beside the model.
    """
    if model.config is not None:
        if args.config:
            raise UsageError(
                "--config is for model files: run folders and checkpoints have theirs."
            )
        return model.config
    path = files.named("MODEL", args.model).parent / "config.json"
    if args.config:
        path = files.named("--config", args.config)
    elif not path.exists():
        return None
    warn(f"The pictures are prepared as {path} says.")
    return settings.load(path)


def preparation(args, model, config, batch_size, warn):
    """Returns the `TrainingConfig` by which the images for `model`, a `LoadedModel`, are prepared.

    Options come first, then what the model itself says, then the run's configuration; a line says
    what was assumed where none of them says it.

    Args:
        args: Of `add_options`.
        model: A `LoadedModel`.
        config: What `run_config` returns.
        warn: Called with a sentence where something is assumed.
        batch_size: Of the pictures; it becomes a multiple of the model's.

    Raises:
        UsageError: It is out of range, or the model takes no pictures of such a size.
    """
    size = _picture_size(model, config and config.image_size)
    step = model.input_shape[0] or 1
    names = ("mean", "std", "eval_crop", "interpolation")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    given |= {name: tuple(given[name]) for name in ("mean", "std") if name in given}
    if model.includes_preprocessing and {"mean", "std"} & set(given):
        raise UsageError(
            "--mean and --std are for models that take scaled images: leave them out. "
            f"{model.name} takes pixels of 0 to 255 and scales them itself."
        )
    usual = config or settings.TrainingConfig()
    if model.preprocessing is not None:
        usual = usual.with_preprocessing(model.preprocessing)
    assumed = model.preprocessing is None and config is None and not {"mean", "std"} <= set(given)
    changes = given | {"max_bad_images": args.max_bad_images}
    changes |= {"accumulation": 1, "image_size": size}
    changes["batch_size"] = max(step, batch_size // step * step)
    config = dataclasses.replace(usual, **changes)
    settings.check(config)
    if assumed:
        warn(f"MODEL does not say how its images are prepared; assumed: {config.preprocessing}.")
    return config


def are_taken_by(model):
    """Returns whether a `LoadedModel` takes square pictures of 1 or 3 channels."""
    shape = tuple(model.input_shape[1:])
    return len(shape) == 3 and shape[0] == shape[1] and shape[2] in (1, 3)


def _picture_size(model, asked):
    shape = tuple(model.input_shape[1:])
    size = asked or (shape[0] if shape else 0)
    if size is None:
        raise UsageError("MODEL takes pictures of any size: give --config.")
    if (
        len(shape) != 3
        or any(n not in (None, int(size)) for n in shape[:2])
        or shape[2] not in (1, 3)
    ):
        raise UsageError(
            f"MODEL must take pictures of {size} x {size} pixels with 3 colours, or 1. It takes: "
            + " x ".join(map(str, shape))
        )
    return int(size)


def open_data(data, data_dir, split, channels=3, option="--split"):
    """Returns the `PictureData` of a split, or for "digits" the `ArrayData`.

    `option` is what the user gave the split by.

    Raises:
        UsageError: There is none, or its pictures do not have the model's channels.
    """
    from keras_mixers.data.dataset import ArrayData, PictureData
    from keras_mixers.data.sources import open_source

    if (data == DIGITS) != (channels == 1):
        raise UsageError(
            f"--data must be {DIGITS} for a model of pictures with 1 channel, and for no other. "
            f"Received: {data}, and pictures of {channels}"
        )
    if data != DIGITS:
        return PictureData(open_source(data, data_dir, split))
    from keras_mixers.data import digits

    splits = dict(zip(("train", "validation", "test"), digits.load(), strict=True))
    if split not in splits:
        raise UsageError(
            f"{option} of {DIGITS} must be one of {', '.join(splits)}. Received: {split}"
        )
    return ArrayData(*splits[split], classes=10)


def as_input(images, model, preprocessing):
    """Returns a batch of `batches` as a `LoadedModel` takes it.

    Args:
        images: Pixels of 0 to 255, of any type.
        model: What has `takes_pixels` and `includes_preprocessing`.
        preprocessing: A `Preprocessing`, for a model that wants its images scaled.
    """
    if model.takes_pixels:
        return np.clip(np.round(images), 0, 255).astype("uint8")
    if model.includes_preprocessing:
        return np.asarray(images, "float32")
    return preprocessing.scale(np.asarray(images))


def batches(data, config, bad, limit=None, doing=None):
    """Yields `(images, labels, weights)` of every picture once, and shows how far it is.

    Args:
        data: What `open_data` returns.
        config: What `preparation` returns.
        bad: A list, which receives the indices of pictures that cannot be read; they and what
            fills up the last batch have the weight 0.
        limit: Of the pictures: the batch that reaches it is the last one.
        doing: What to call that, beside the bar.
    """
    from tqdm import tqdm

    patience = 0.5 if sys.stderr.isatty() else 30.0
    total = min(len(data), limit or len(data))
    with tqdm(desc=doing, total=total, unit="img", mininterval=patience, dynamic_ncols=True) as bar:
        for images, one_hot, weights, places in data.evaluation_batches(config).as_numpy_iterator():
            unreadable = places[places >= 0].tolist()
            for index in unreadable:
                line = f"{data.name(index)}: {data.why_unreadable(index)}"
                bar.write(f"Skipped: {line}", file=sys.stderr)
            bad += unreadable
            yield images, np.argmax(one_hot, axis=-1), weights
            bar.update(min(int((weights > 0).sum()) + len(unreadable), total - bar.n))
            if bar.n >= total:
                break
    if len(bad) == len(data):
        raise RunError(f"None of the {len(data):,} pictures could be read.")
