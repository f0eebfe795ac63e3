"""Images for a model: which data, and prepared as in its training."""

import dataclasses
import sys

import numpy as np

from keras_mixers.errors import RunError, UsageError
from keras_mixers.preprocessing import UNSCALED
from keras_mixers.training import config as settings

DIGITS = "digits"


def preparation(model, config, batch_size, warn, **changes):
    """Returns the `TrainingConfig` by which the images for `model`, a `LoadedModel`, are prepared.

    What the caller asks for comes first, then what the model itself says, then the run's settings.

    Args:
        model: A `LoadedModel`.
        config: The `TrainingConfig` that it was trained by, or None where nobody knows.
        batch_size: Of the images; it becomes a multiple of the model's.
        warn: Called with a sentence where nothing says how images are prepared.
        changes: Settings in place of those of `config`.

    Raises:
        UsageError: It is out of range, or the model takes no images of such a size.
    """
    *size, channels = _input_shape(model, config)
    step = model.input_shape[0] or 1
    scaling = {"mean", "std"} & set(changes)
    if model.includes_preprocessing and scaling:
        raise UsageError(
            "--mean and --std are for models that take scaled images: leave them out. "
            f"{model.name} takes pixels of 0 to 255 and scales them itself."
        )
    usual = config or settings.TrainingConfig()
    if model.preprocessing is not None:
        usual = usual.with_preprocessing(model.preprocessing)
    by_itself = model.scaling_note is not None and not scaling
    if by_itself:
        changes |= {"mean": UNSCALED.mean, "std": UNSCALED.std}
    assumed = model.preprocessing is None and config is None and len(scaling) < 2
    changes |= {"gradient_accumulation_steps": 1, "image_size": size, "channels": channels}
    # Of training only, and not for any number of channels.
    changes |= {"randaugment": "none", "color_jitter": 0.0}
    changes["batch_size"] = max(step, batch_size // step * step)
    config = dataclasses.replace(usual, **changes)
    if by_itself:
        note = model.scaling_note.replace("the model", "MODEL")
        warn(f"{note}: it is given pixels of 0 to 255, unless --mean and --std say otherwise.")
    elif assumed:
        warn(f"MODEL does not say how its images are prepared; assumed: {config.preprocessing}.")
    return config


def are_taken_by(model):
    """Returns whether a `LoadedModel` takes images."""
    shape = tuple(model.input_shape[1:])
    return len(shape) == 3 and shape[2] is not None


def _input_shape(model, config):
    """Returns height, width and channels of a model's images."""
    shape = tuple(model.input_shape[1:])
    if not are_taken_by(model):
        raise UsageError(
            "MODEL must take images, (height, width, channels). It takes: "
            + " x ".join(map(str, shape))
        )
    if config is None and None in shape:
        raise UsageError("MODEL takes images of any size: give --config.")
    asked = config.preprocessing.size if config else shape[:2]
    if any(there not in (None, n) for there, n in zip(shape[:2], asked, strict=True)):
        raise UsageError(
            f"MODEL must take images of {' x '.join(map(str, asked))} pixels, as its run's are. "
            f"It takes: {' x '.join(map(str, shape))}"
        )
    return *map(int, asked), int(shape[2])


def usual_split(data, data_dir, trained_by=None, reading=()):
    """Returns the split to evaluate on where none was asked for.

    That is what a run was validated on, where `data` are its own; or else the first that there is
    of validation, test and train.
    """
    from keras_mixers.data import sources

    if data == DIGITS:
        return "validation"
    if trained_by and sources.are_same(data, trained_by.data):
        return trained_by.validation_split
    there = sources.splits(data, data_dir, *reading)
    return next((name for name in ("validation", "test", "train") if name in there), "validation")


def open_data(data, data_dir, split, channels=3, option="--split", classes=None, reading=()):
    """Returns the `ImageData` of a split, or for "digits" the `ArrayData`.

    Args:
        data: As of `sources.open_source`, or "digits".
        data_dir: As of `sources.open_source`.
        split: As of `sources.open_source`.
        channels: Of the model's images.
        option: What the user gave the split by.
        classes: Names of the model's classes, in the order of its outputs; None for the data's.
        reading: The values of a `Reading`.

    Raises:
        UsageError: There is none, or the digits' one channel is not what the model takes.
    """
    from keras_mixers.data.dataset import ArrayData, ImageData
    from keras_mixers.data.sources import open_source

    if data == DIGITS and channels != 1:
        raise UsageError(
            f"--data {DIGITS} is for models of images with 1 channel. Received a model of images "
            f"with {channels}"
        )
    if data != DIGITS:
        return ImageData(open_source(data, data_dir, split, *reading), classes)
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


def batches(data, config, unreadable, limit=None, doing=None):
    """Yields `(images, labels, weights)` of every image once, and shows how far it is.

    Labels are numbers of classes; of several an image, float32 `(images, classes)`, 1 for each.

    Args:
        data: What `open_data` returns.
        config: What `preparation` returns.
        unreadable: A list, which receives the indices of images that cannot be read; they and what
            fills up the last batch have the weight 0.
        limit: Of the images: the batch that reaches it is the last one.
        doing: What to call that, beside the bar.
    """
    from tqdm import tqdm

    patience = 0.5 if sys.stderr.isatty() else 30.0
    total = min(len(data), limit or len(data))
    with tqdm(desc=doing, total=total, unit="img", mininterval=patience, dynamic_ncols=True) as bar:
        for images, shares, weights, places in data.evaluation_batches(config).as_numpy_iterator():
            found = places[places >= 0].tolist()
            for index in found:
                line = f"{data.name(index)}: {data.why_unreadable(index, config)}"
                bar.write(f"Skipped: {line}", file=sys.stderr)
            unreadable += found
            yield images, shares if data.multi_label else np.argmax(shares, axis=-1), weights
            bar.update(min(int((weights > 0).sum()) + len(found), total - bar.n))
            if bar.n >= total:
                break
    if len(unreadable) == len(data):
        raise RunError(f"None of the {len(data):,} images could be read.")
