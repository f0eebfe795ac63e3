"""Labels in a table: a CSV, TSV or JSON-lines file with a row for each image."""

import collections
import logging
import os

import tensorflow as tf

from keras_mixers.data import layout, table_columns
from keras_mixers.data.folders import in_proportion, with_labels
from keras_mixers.data.reading import Reading, say_once
from keras_mixers.errors import UsageError, some

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson")
_METADATA = tuple(f"metadata{ending}" for ending in ENDINGS)
_NAMED = 5
_log = logging.getLogger("keras_mixers")


def is_table(path):
    """Returns whether a path has the name of a table."""
    return path.lower().endswith(ENDINGS)


def find(data, reading):
    """Returns the tables of `data` by split, {} if there are none; "" is one of all splits.

    A table stands for itself. A folder has tables named after splits, one of another name, or one
    named metadata in the folder of each split; but not where it has a folder for each class, of
    which the table says nothing else, unless its `reading` was asked for.
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
    is_asked_for = any(reading) or not found
    return found if is_asked_for or not _is_of_something_else(data, found) else {}


def unused(folder):
    """Returns the names of the tables in a folder, where it is read by its folders."""
    return [name for name in sorted(tf.io.gfile.listdir(folder)) if is_table(name)]


def splits(data, reading):
    """Returns the names of the splits that the tables of `data` have."""
    tables = find(data, reading)
    names = set(tables) - {""}
    for path in [tables[""]] if "" in tables else []:
        table = table_columns.read(path)
        column = table_columns.split_column(list(table[0])) if table else None
        names |= {table_columns.split_in(row, column) for row in table}
    return tuple(dict.fromkeys(n for n in (*layout.SPLITS, *sorted(names)) if n in names))


def open_table(data, split, reading):
    """Returns the images of a split of a table, as a `FolderSource`.

    Args:
        data: The table, or a folder with one.
        split: Its name.
        reading: A `Reading`.

    Raises:
        UsageError: It cannot be read, has no such column, or its images are not there.
    """
    tables = find(data, reading)
    name = layout.split_of(split) or split
    rows, trained, by_column, said = [], [], None, []
    for of_split, path in tables.items():
        if of_split not in ("", "train", name):
            continue
        read, columns = table_columns.rows(path, reading)
        own = [row[:2] for row in read if (of_split or row[2]) == name]
        if not reading.multi_label:
            labelled = [row for row in own if row[1]]
            if len(labelled) < len(own):
                count = len(own) - len(labelled)
                named = some([image for image, labels in own if not labels])
                say_once(f"{path}: left out {count} of {len(own)} rows without a label: {named}")
            own = labelled
        if own:
            said.append(f"{path}: {columns}")
        rows += [(path, *row) for row in own]
        trained += [labels for _, labels, s in read if (of_split or s) == "train"]
        by_column = (by_column if of_split == name != "train" else None) or columns.classes
    if not rows:
        there = ", ".join(splits(data, reading))
        raise UsageError(
            f"{data} must have rows of the split {split}: choose one of {there}, or a part of one, "
            "such as train[80%:]."
        )
    there = {label for _, _, labels in rows for label in labels}
    classes = by_column or _sorted_classes({label for each in trained for label in each} or there)
    unknown = there - set(classes)
    if unknown:
        raise UsageError(
            f"{data} must have classes of its training images only in {split}. Received: "
            f"{', '.join(sorted(unknown)[:_NAMED])}"
        )
    several = f"; {len(classes)} labels: {some(classes)}" if reading.multi_label else ""
    for line in said:
        say_once(f"{line}{several}")
    in_parts = name == "train" and "validation" not in splits(data, reading)
    return _source(data, rows, classes, in_parts, reading.multi_label)


def _source(data, rows, classes, in_parts, multi_label):
    index = _Index({os.path.dirname(path) or "." for path, _, _ in rows}, {row[1] for row in rows})
    labels, missing = {}, []
    for table, image, mine in rows:
        path = index.path(table, image)
        if path is None:
            missing.append(image)
        elif multi_label:
            labels[path] = labels.get(path, ()) + mine
        elif labels.setdefault(path, mine) != mine:
            raise UsageError(
                f"{table} must have one label for each image; it has {labels[path][0]} and "
                f"{mine[0]} for {image}: give --multi-label if it has both."
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
    numbers = {
        path: tuple(sorted({number[name] for name in mine})) for path, mine in labels.items()
    }
    if not multi_label:
        return in_proportion(classes, _grouped(numbers, len(classes)), in_parts)
    # By its rarest label, so that each part has its share of these.
    count = collections.Counter(label for mine in numbers.values() for label in mine)
    rarest = {path: sorted(mine, key=count.__getitem__)[:1] for path, mine in numbers.items()}
    source = in_proportion(classes, _grouped(rarest, len(classes) + 1), in_parts)
    return with_labels(source, classes, (numbers[path] for path in source.paths))


def _grouped(labels, groups):
    """Returns the paths of each group, of labels by path; without one, of the last group."""
    found = [[] for _ in range(groups)]
    for path, mine in labels.items():
        found[mine[0] if mine else -1].append(path)
    return found


class _Index:
    """The images below some folders, found by what a table may call them.

    Args:
        folders: Their paths.
        called: All that the table calls images.
    """

    def __init__(self, folders, called):
        # In another folder than the table says is only what no other row may mean as well.
        self._last_parts = collections.Counter(os.path.basename(_slashes(name)) for name in called)
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
        image, last = _slashes(image), os.path.basename(_slashes(image))
        for rank in range(4 if self._last_parts[last] == 1 else 2):
            key = image if rank < 2 else last
            found = list(dict.fromkeys(self._found.get((rank, key), [])))
            if found:
                return found[0] if len(found) == 1 else None
        return None


def _slashes(image):
    return os.path.normpath(image.replace("\\", "/")).replace(os.sep, "/")


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
        rows = [row for path in found.values() for row in table_columns.rows(path, Reading())[0]]
    except UsageError:  # It has no such columns.
        return True
    return {label for _, labels, _ in rows for label in labels} <= classes
