"""From class scores to the names of classes, as keras.applications do it."""

import functools
import logging
import os
from collections.abc import Mapping, Sequence, Set
from typing import Any

import keras
import numpy as np

from keras_mixers.layers import checks
from keras_mixers.models import class_lists

_log = logging.getLogger("keras_mixers")


def decode_predictions(
    predictions: Any,
    top: int = 5,
    class_names: Sequence[str] | str | os.PathLike | None = None,
) -> list[list[tuple[str | int, str, float]]]:
    """Returns the classes of the highest scores, with their names.

    Without `class_names`, the classes are assumed to be those of the published weights, by their
    number only: 1,000 of ImageNet-1k, 21,843 of Google's ImageNet-21k, 11,221 of MIIL's. A line
    says so once. Their lists are downloaded once into Keras' cache, `~/.keras/models`. For a model
    of classes of your own, give their names, also where there are as many.

    Args:
        predictions: NumPy array or tensor of Keras' backend, `(batch, classes)`: probabilities or
            logits.
        top: How many classes to return of each sample, at least 1; all, where there are fewer.
            Defaults to 5.
        class_names: Names of the model's classes in the order of its outputs: a sequence of
            strings, or the path of a text file with a name a line, such as the `labels.txt` of a
            run, or of a folder with a `labels.txt`. Defaults to the public list of as many classes.

    Returns:
        A list with, for each sample, a list of tuples `(class_id, class_name, score)`, the
        highest score first. `class_id` is the WordNet id, such as `"n02504458"`; with `class_names`
        it is the number of the output, counted from 0.

    Raises:
        ValueError: An argument is out of range, no public list has so many classes, or it cannot be
            fetched.

    Example: `mlp_mixer.decode_predictions(model.predict(images), top=3)[0]`

    Sources of the lists: `keras_mixers/models/class_lists.py`.
    """
    scores = _scores(predictions)
    classes = scores.shape[1]
    top = checks.positive_int("top", top)
    entries = _public(classes) if class_names is None else _given(class_names, classes)
    highest = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return [
        [(*entries[i], float(row[i])) for i in indices]
        for row, indices in zip(scores, highest, strict=True)
    ]


def _scores(predictions):
    if not hasattr(predictions, "shape") or keras.utils.is_keras_tensor(predictions):
        raise ValueError(
            "`predictions` must be a NumPy array or a tensor, such as model.predict returns. "
            f"Received: {type(predictions).__name__}"
        )
    if len(predictions.shape) != 2:
        raise ValueError(
            "`predictions` must have the shape (batch, classes): for one sample, give "
            f"predictions[None]. Received: shape={tuple(predictions.shape)}"
        )
    scores = keras.ops.convert_to_numpy(predictions).astype("float32")
    if np.isnan(scores).any():
        raise ValueError(
            "`predictions` must be numbers: these have no order. "
            f"Received: NaN in {np.isnan(scores).any(axis=1).sum()} of {len(scores)} samples"
        )
    return scores


def _public(classes):
    if classes not in class_lists.FILES:
        known = ", ".join(map(str, class_lists.FILES))
        raise ValueError(
            f"`predictions` must be of as many classes as a public list has ({known}): give "
            f"class_names=, a name for each. Received: {classes} classes"
        )
    entries = class_lists.of(classes)
    _report_assumed(classes)
    return entries


@functools.cache  # Once for each number in a process.
def _report_assumed(classes):
    _log.warning(
        "decode_predictions: %d classes are taken for ImageNet's, because they are as many: give "
        "class_names= if they are others",
        classes,
    )


def _given(class_names, classes):
    if isinstance(class_names, str | os.PathLike):
        names = _lines(os.path.expanduser(class_names))
    elif isinstance(class_names, Mapping | Set):
        raise ValueError(
            "`class_names` must be a sequence of names in the order of the outputs. "
            f"Received: {type(class_names).__name__}"
        )
    else:
        names = list(class_names)
    if len(names) != classes:
        raise ValueError(
            f"`class_names` must have a name for each of the {classes} classes. "
            f"Received: {len(names)} names"
        )
    return list(enumerate(names))


def _lines(path):
    if os.path.isdir(path):
        path = os.path.join(path, "labels.txt")
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            "`class_names` must be names, or the path of a text file with a name a line. "
            f"Received: {os.fspath(path)!r}, which cannot be read ({error})"
        ) from error


def preprocess_input(images: Any) -> Any:
    """Returns `images` as they are: the models scale pixels of 0 to 255 themselves.

    It is here because `keras.applications` have it. A model with `include_preprocessing=False`
    takes what its `preprocessing.scale(images)` returns.
    """
    return images
