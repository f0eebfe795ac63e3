"""Where images are: a folder per class, TFRecord shards, a prepared tensorflow-datasets folder.

A source knows how many images there are and reads the n-th one by itself, so that any step can be
the first.
"""

import dataclasses
import os
import pathlib
import re

import tensorflow as tf

from keras_mixers import files
from keras_mixers.data import folders, layout, record_files, records, tables
from keras_mixers.data.reading import Reading, say_once
from keras_mixers.errors import UsageError

_SPLIT = re.compile(r"(?P<name>[\w.-]+)(\[(?P<start>\d*%?):(?P<stop>\d*%?)\])?")


def open_source(data, data_dir, split, *reading, **named):
    """Returns the images of a split.

    Args:
        data: A folder with one folder per split that has one folder per class, or with one
            folder per class only, which are the split "train"; a folder of TFRecord shards as
            `keras-mixers make-shards` writes them; a folder that tensorflow-datasets has prepared;
            or the name of a data set that it has prepared in `data_dir`.
        data_dir: Folder or bucket.
        split: Such as `"train"`, `"train[:99%]"` or `"train[1000:]"`.
        reading: The values of a `Reading`.
        named: The same by their names.

    Raises:
        UsageError: There is no such data set, no such split, or it holds no image.
    """
    reading = Reading(*reading, **named)
    match = _SPLIT.fullmatch(split)
    if match is None:
        raise UsageError(f"A split must be written as train or train[:99%]. Received: {split}")
    name = match["name"]
    folder, kind = _expanded(data), _kind(data, reading)
    if kind == "name":
        builder = records.prepared(data, _expanded(data_dir))
        source = records.open_tfds(builder, name, reading)
    elif kind == "tfds":
        source = records.open_tfds(records.prepared_folder(folder), name, reading)
    elif kind == "records":
        source = records.open_shards(folder, name, reading)
    elif kind == "table":
        source = tables.open_table(folder, name, reading)
    else:
        source = folders.open_folder(folder, name, reading.multi_label)
        if unused := tables.unused(folder):
            say_once(
                f"{folder}: the classes are its folders, {', '.join(source.classes[:5])}; not "
                f"used: {', '.join(unused[:5])} (for its labels, give it as --data)"
            )
    if match["start"] is None:
        return source
    return _part(source, match["start"], match["stop"], split)


def are_same(data, other):
    """Returns whether two values of `data` are the same set or folder."""
    folders = [os.path.realpath(_expanded(each)) for each in (data, other)]
    return data == other or (os.path.isdir(folders[0]) and folders[0] == folders[1])


def splits(data, data_dir, *reading):
    """Returns the names of the splits of `data`; none where it cannot be opened."""
    reading = Reading(*reading)
    folder, kind = _expanded(data), _kind(data, reading)
    try:
        if kind == "name":
            return tuple(records.prepared(data, _expanded(data_dir)).info.splits)
        if kind == "tfds":
            return tuple(records.prepared_folder(folder).info.splits)
        if kind == "records":
            return tuple(record_files.splits(folder))
        if kind == "table":
            return tables.splits(folder, reading)
        return tuple(layout.find(folder).splits)
    except UsageError:  # Whoever opens it says so.
        return ()


def lacks_validation(data, *reading):
    """Returns whether `data` are images, records or a table with no split to validate on."""
    if _kind(data, Reading(*reading)) in ("name", "tfds"):
        return False
    there = splits(data, "", *reading)
    return "train" in there and "validation" not in there


def _kind(data, reading):
    """Returns "name", "tfds", "records", "table" or "folder": what `data` is."""
    folder = _expanded(data)
    if tables.is_table(folder):
        return "table"
    if not tf.io.gfile.isdir(folder):
        return "name"
    if tf.io.gfile.exists(f"{folder}/dataset_info.json"):
        return "tfds"
    if record_files.splits(folder):
        return "records"
    return "table" if tables.find(folder, reading) else "folder"


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
