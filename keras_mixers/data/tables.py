"""Labels in a table: a CSV, TSV or JSON-lines file with a row for each image."""

import csv
import io
import json
import logging
import os
import re

import tensorflow as tf

from keras_mixers.data import layout
from keras_mixers.data.folders import in_proportion
from keras_mixers.errors import UsageError

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson")
_METADATA = tuple(f"metadata{ending}" for ending in ENDINGS)
_IMAGES = (
    *("image", "path", "file", "filename", "file_name", "image_path", "filepath", "file_path"),
    *("image_id", "image_name", "img", "img_path", "id", "name"),
)
_LABELS = ("label", "labels", "class", "category", "target", "class_name", "label_name", "breed")
_SPLITS = ("split", "set", "subset", "partition")
_NAMED = 5
_log = logging.getLogger("keras_mixers")


def is_table(path):
    """Returns whether a path has the name of a table."""
    return path.lower().endswith(ENDINGS)


def find(data, keys=(None, None)):
    """Returns the tables of `data` by split, {} if there are none; "" is one of all splits.

    A table stands for itself. A folder has tables named after splits, one of another name, or one
    named metadata in the folder of each split; but not where it has a folder for each class, of
    which the table says nothing else, unless `keys` of its columns are given.
    """
    if is_table(data):
        return {"": data} if tf.io.gfile.exists(data) else {}
    found = {}
    for name in sorted(name for name in tf.io.gfile.listdir(data) if is_table(name)):
        split = layout.split_of(os.path.splitext(name)[0].split("_")[0]) or ""
        found.setdefault(split, f"{data}/{name}")
    for name in layout.folders(data):
        if split := layout.split_of(name):
            metadata = [f"{data}/{name}/{each}" for each in _METADATA]
            there = [path for path in metadata if tf.io.gfile.exists(path)]
            if there:
                found[split] = there[0]
    if "train" in found:
        found.pop("", None)
    elif "" not in found:
        return {}
    is_asked_for = any(keys) or not found
    return found if is_asked_for or not _is_of_something_else(data, found) else {}


def unused(folder):
    """Returns the names of the tables in a folder, where it is read by its folders."""
    return [name for name in sorted(tf.io.gfile.listdir(folder)) if is_table(name)]


def splits(data, keys=(None, None)):
    """Returns the names of the splits that the tables of `data` have."""
    tables = find(data, keys)
    names = set(tables) - {""}
    for path in [tables[""]] if "" in tables else []:
        table = _read(path)
        column = _column(list(table[0]), None, _SPLITS) if table else None
        names |= {_split(row, column) for row in table}
    return tuple(dict.fromkeys(n for n in (*layout.SPLITS, *sorted(names)) if n in names))


def open_table(data, split, image_key=None, label_key=None):
    """Returns the images of a split of a table, as a `FolderSource`.

    Args:
        data: The table, or a folder with one.
        split: Its name.
        image_key: Name of the column of paths or names of images; None to look for it.
        label_key: Name of the column of labels; None to look for it.

    Raises:
        UsageError: It cannot be read, has no such column, or its images are not there.
    """
    keys = (image_key, label_key)
    tables = find(data, keys)
    name = layout.split_of(split) or split
    rows, trained, said = [], [], []
    for of_split, path in tables.items():
        if of_split not in ("", "train", name):
            continue
        read, columns = _rows(path, image_key, label_key)
        said.append((path, columns))
        own = [(image, label) for image, label, s in read if (of_split or s) == name]
        rows += [(path, *row) for row in own]
        trained += [label for _, label, s in read if (of_split or s) == "train"]
    if not rows:
        there = ", ".join(splits(data, keys))
        raise UsageError(
            f"{data} must have rows of the split {split}: choose one of {there}, or a part of one, "
            "such as train[80%:]."
        )
    classes = _sorted_classes(set(trained or [label for _, _, label in rows]))
    unknown = {label for _, _, label in rows} - set(classes)
    if unknown:
        raise UsageError(
            f"{data} must have classes of its training images only in {split}. Received: "
            f"{', '.join(sorted(unknown)[:_NAMED])}"
        )
    for path, (image, label, column) in said if name == "train" or "train" not in tables else []:
        _log.warning(
            "%s: images are taken from the column %s, labels from %s%s",
            *(path, image, label, f", splits from {column}" if column else ""),
        )
    return _source(data, rows, classes, name == "train" and "validation" not in splits(data, keys))


def _source(data, rows, classes, in_parts):
    index = _Index({os.path.dirname(path) or "." for path, _, _ in rows})
    labels, missing = {}, []
    for table, image, label in rows:
        path = index.path(table, image)
        if path is None:
            missing.append(image)
        elif labels.setdefault(path, label) != label:
            raise UsageError(
                f"{table} must have one label for each image; it has {labels[path]} and {label} "
                f"for {image}."
            )
    if missing:
        shown = ", ".join(missing[:_NAMED]) + (", ..." if len(missing) > _NAMED else "")
        if not labels:
            raise UsageError(
                f"{data} must name images in its folder, or below. None of {len(missing):,} is "
                f"there, such as: {shown}"
            )
        _log.warning(
            "%s: left out %d of %d rows, whose images are missing or not told apart: %s",
            *(data, len(missing), len(rows), shown),
        )
    number = {name: place for place, name in enumerate(classes)}
    by_class = [[] for _ in classes]
    for path, label in labels.items():
        by_class[number[label]].append(path)
    return in_proportion(classes, by_class, in_parts)


class _Index:
    """The images below some folders, found by what a table may call them."""

    def __init__(self, folders):
        self._found = {}
        for folder in sorted(folders):
            for path in layout.images_in([folder])[0]:
                name = os.path.relpath(path, folder).replace(os.sep, "/")
                stem = os.path.splitext(name)[0]
                names = (name, stem, os.path.basename(name), os.path.basename(stem))
                for rank, key in enumerate(names):
                    self._found.setdefault((rank, key), []).append(path)

    def path(self, table, image):
        """Returns the path of an image, or None where there is none or more than one."""
        if os.path.isabs(image) or "://" in image:
            return image if tf.io.gfile.exists(image) else None
        image = os.path.normpath(image).replace(os.sep, "/")
        for rank in range(4):
            key = image if rank < 2 else os.path.basename(image)
            found = list(dict.fromkeys(self._found.get((rank, key), [])))
            if found:
                return found[0] if len(found) == 1 else None
        return None


def _rows(path, image_key, label_key):
    """Returns `(image, label, split)` of each row, and the names of the three columns."""
    table = _read(path)
    if not table:
        raise UsageError(f"{path} must have a row for each image; it has none.")
    columns = list(table[0])
    column = _column(columns, None, _SPLITS)
    others = [name for name in columns if name != column]
    image = _column(others, image_key, _IMAGES)
    label = _column([name for name in others if name != image], label_key, _LABELS)
    if image is None and label is not None and len(others) == 2:
        image = next(name for name in others if name != label)
    if label is None and image is not None and len(others) == 2:
        label = next(name for name in others if name != image)
    for found, asked, option, what in (
        (image, image_key, "--image-key", "the paths or names of images"),
        (label, label_key, "--label-key", "the labels"),
    ):
        if found is None:
            raise UsageError(
                f"{option} must name the column of {path} with {what}: "
                f"{', '.join(map(str, others))}. Received: {asked or 'none'}"
            )
    rows = []
    for number, row in enumerate(table, start=2):
        values = [row.get(name) for name in (image, label)]
        if any(isinstance(value, list | dict | None.__class__) for value in values):
            raise UsageError(
                f"{path} must have an image and one label in each row. Received row {number}: "
                f"{values[0]}, {values[1]}"
            )
        name, of_class = (str(value).strip() for value in values)
        rows.append((name, of_class, _split(row, column)))
    return rows, (image, label, column)


def _split(row, column):
    split = str(row.get(column) or "train") if column else "train"
    return layout.split_of(split) or split


def _column(columns, asked, usual):
    if asked:
        return asked if asked in columns else None
    by_name = {_word(name): name for name in reversed(columns)}
    return next((by_name[word] for word in map(_word, usual) if word in by_name), None)


def _word(name):
    return re.sub(r"[\W_]", "", str(name)).lower()


def _read(path):
    """Returns the rows of a table as dicts."""
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            text = file.read().decode("utf-8-sig")
        if path.lower().endswith((".csv", ".tsv")):
            head = text.partition("\n")[0]
            mark = max(",;\t", key=head.count)
            return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=mark))
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError("it must hold an object for each image")
    except (ValueError, csv.Error, tf.errors.OpError) as error:
        raise UsageError(f"{path} cannot be read as a table: {error}") from None
    return rows


def _sorted_classes(names):
    """Numbers in their order, other names by the alphabet."""
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=int))
    return tuple(sorted(names))


def _is_of_something_else(folder, found):
    """Returns whether a folder has a folder per class, of which its tables say nothing else."""
    try:
        classes = set(layout.classes(next(iter(layout.find(folder).splits.values()))))
    except UsageError:
        return False
    if len(classes) < 2:
        return False
    try:
        labels = {label for path in found.values() for _, label, _ in _rows(path, None, None)[0]}
    except UsageError:  # It has no such columns.
        return True
    return labels <= classes
