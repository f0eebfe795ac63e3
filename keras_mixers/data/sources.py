"""Where images are: a folder per class, TFRecord shards, a prepared tensorflow-datasets folder.

A source knows how many images there are and reads the n-th one by itself, so that any step can be
the first.
"""

import dataclasses
import pathlib
import re

import tensorflow as tf

from keras_mixers import files
from keras_mixers.data import folders, records
from keras_mixers.errors import UsageError

_SPLIT = re.compile(r"(?P<name>[\w.-]+)(\[(?P<start>\d*%?):(?P<stop>\d*%?)\])?")


def open_source(data, data_dir, split):
    """Returns the images of a split.

    Args:
        data: A folder with one folder per split that has one folder per class, or with one
            folder per class only, which are the split "train"; a folder of TFRecord shards as
            `keras-mixers make-shards` writes them; a folder that tensorflow-datasets has prepared;
            or the name of a data set that it has prepared in `data_dir`.
        data_dir: Folder or bucket.
        split: Such as `"train"`, `"train[:99%]"` or `"train[1000:]"`.

    Raises:
        UsageError: There is no such data set, no such split, or it holds no image.
    """
    match = _SPLIT.fullmatch(split)
    if match is None:
        raise UsageError(f"A split must be written as train or train[:99%]. Received: {split}")
    name = match["name"]
    folder = _expanded(data)
    if not tf.io.gfile.isdir(folder):
        source = records.open_tfds(records.prepared(data, _expanded(data_dir)), name)
    elif tf.io.gfile.exists(f"{folder}/dataset_info.json"):
        source = records.open_tfds(records.prepared_folder(folder), name)
    elif tf.io.gfile.glob(f"{folder}/*.tfrecord"):
        source = records.open_shards(folder, name)
    else:
        source = folders.open_folder(folder, name)
    if match["start"] is None:
        return source
    return _part(source, match["start"], match["stop"], split)


def lacks_validation(data):
    """Returns whether `data` is a folder of images with no split but for training."""
    folder = _expanded(data)
    if not tf.io.gfile.isdir(folder) or tf.io.gfile.exists(f"{folder}/dataset_info.json"):
        return False
    return not tf.io.gfile.glob(f"{folder}/*.tfrecord") and folders.lacks_validation(folder)


def _part(source, start, stop, split):
    first, last = (_place(text, len(source), end) for text, end in ((start, 0), (stop, 1)))
    if not 0 <= first < last <= len(source):
        raise UsageError(
            f"A split must hold an image; of {len(source):,}, this one takes none that exist: "
            f"take a larger part. Received: {split}"
        )
    if isinstance(source, folders.FolderSource):
        return dataclasses.replace(
            source, paths=source.paths[first:last], labels=source.labels[first:last]
        )
    return dataclasses.replace(source, places=source.places[first:last])


def _place(text, count, end):
    if not text:
        return end * count
    return round(int(text[:-1]) * count / 100) if text.endswith("%") else int(text)


def _expanded(path):
    return path if files.is_remote(path) else str(pathlib.Path(path).expanduser())
