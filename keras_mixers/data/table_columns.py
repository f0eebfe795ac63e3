"""What the columns of a table of labels hold: images, labels in several forms, splits."""

import ast
import collections
import csv
import functools
import io
import json
import re
import typing

import tensorflow as tf

from keras_mixers.data import layout
from keras_mixers.errors import UsageError, some

_IMAGES = (
    *("image", "path", "file", "filename", "file_name", "image_path", "filepath", "file_path"),
    *("image_id", "image_name", "image_index", "img", "img_path", "id", "name"),
)
_LABELS = (
    *("label", "labels", "class", "category", "target", "class_name", "label_name", "breed"),
    *("classes", "categories", "tags", "finding_labels", "image_labels"),
)
_SPLITS = ("split", "set", "subset", "partition")
_SEPARATORS = "|;,"
# -1 is "no" beside 1, as in CelebA, or "not known", as in CheXpert; both are taken as "no".
_YES, _NO, _EMPTY, _MINUS = {"1", "1.0", "true"}, {"0", "0.0", "false"}, {"", "nan"}, {"-1", "-1.0"}


class Columns(typing.NamedTuple):
    """Which columns of a table hold what."""

    image: str
    labels: tuple[str, ...]
    """One column of labels, or one for each label."""
    split: str | None
    separator: str | None = None
    """Of several labels in a cell."""
    notes: tuple[str, ...] = ()
    """What else a person should know of how the table was read."""

    @property
    def classes(self):
        """The labels, where each has a column, or None."""
        return self.labels if len(self.labels) > 1 else None

    def __str__(self):
        labels = f"labels from {self.labels[0]}"
        if self.classes:
            labels = f"labels from {len(self.labels)} columns, {some(self.labels)}"
        if self.separator:
            named = "a space" if self.separator == " " else f'"{self.separator}"'
            labels += f", separated by {named} (--label-separator)"
        splits = f"splits from {self.split}" if self.split else ""
        said = (f"images are taken from the column {self.image}", labels, splits)
        return "; ".join([", ".join(filter(None, said)), *self.notes])


def rows(path, reading):
    """Returns `(image, labels, split)` of each row of a table, and its `Columns`.

    Labels are a tuple of names: of one, or none where its cell is empty, or with
    `reading.multi_label` of several.

    Args:
        path: Of the table.
        reading: A `Reading`.

    Raises:
        UsageError: It cannot be read, or it is not clear which columns hold what.
    """
    stat = tf.io.gfile.stat(path) if tf.io.gfile.exists(path) else None
    return _rows(path, reading, stat and (stat.length, stat.mtime_nsec))


@functools.lru_cache(8)  # Each split of a set asks for them.
def _rows(path, reading, version):
    table = read(path)
    if not table:
        raise UsageError(f"{path} must have a row for each image; it has none.")
    columns, has = _columns(path, table, reading)
    images = [_text(row.get(columns.image)) for row in table]
    if None in images:
        number = images.index(None) + 2
        raise UsageError(f"{path} must have an image in each row. Received row {number}: none")
    if columns.classes:
        labels = [tuple(name for name in columns.labels if name in names) for names in has]
    else:
        cells = [row.get(columns.labels[0]) for row in table]
        columns, labels = _of_cells(path, columns, cells, images, reading)
    splits = [split_in(row, columns.split) for row in table]
    return list(zip(images, labels, splits, strict=True)), columns


def read(path):
    """Returns the rows of a table as dicts."""
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            text = file.read().decode("utf-8-sig")
        if path.lower().endswith((".csv", ".tsv")):
            head = text.partition("\n")[0]
            mark = max(",;\t", key=head.count)
            return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=mark))
        found = [json.loads(line) for line in text.splitlines() if line.strip()]
        if not all(isinstance(row, dict) for row in found):
            raise ValueError("it must hold an object for each image")
    except (ValueError, csv.Error, tf.errors.OpError) as error:
        raise UsageError(f"{path} cannot be read as a table: {error}") from None
    return found


def split_column(names):
    """Returns the column that says which split a row is of, or None."""
    return _column(names, None, _SPLITS)


def split_in(row, column):
    """Returns the split that a row is of."""
    split = str(row.get(column) or "train") if column else "train"
    return layout.split_of(split) or split


def _columns(path, table, reading):
    """Returns the `Columns`, and of each row the columns that say yes, where these are labels."""
    names = list(table[0])
    split = split_column(names)
    others = [name for name in names if name != split and not _is_number_of_row(name)]
    image = _column(others, reading.image_key, _IMAGES)
    label = _column([name for name in others if name != image], reading.label_key, _LABELS)
    each = {}
    if not label and not reading.label_key:
        each = _yes_or_no(table, [name for name in others if name != image])
    if image is None and not reading.image_key:
        rest = [name for name in others if name != label and name not in each]
        image = rest[0] if len(rest) == 1 else None
    if label is None and not reading.label_key and len(others) == 2 and image is not None:
        label = next(name for name in others if name != image)
    for found, asked, option, what in (
        (image, reading.image_key, "--image-key", "the paths or names of images"),
        (label or each, reading.label_key, "--label-key", "the labels"),
    ):
        if not found:
            raise UsageError(
                f"{option} must name the column of {path} with {what}: "
                f"{', '.join(map(str, others))}. Received: {asked or 'none'}"
            )
    unused = [str(name) for name in others if name not in (image, label) and name not in each]
    without_split = sum(not row.get(split) for row in table) if split else 0
    notes = [f"not used: {some(unused)}"] if unused else []
    if without_split:
        notes.append(f"{without_split:,} rows without a split are taken as train")
    if label:
        return Columns(image, (label,), split, None, tuple(notes)), None
    has = [
        {n for n, cell in zip(each, row, strict=True) if cell in _YES}
        for row in zip(*each.values(), strict=True)
    ]
    several = sum(len(names) != 1 for names in has)
    if several and not reading.multi_label:
        raise UsageError(
            f"{path} has a column for each label ({some(list(each))}), and {several:,} of "
            f"{len(has):,} rows with several or none: give --multi-label, or name one column by "
            "--label-key."
        )
    return Columns(image, tuple(each), split, None, (*_notes(each), *notes)), has


def _yes_or_no(table, names):
    """Returns the cells of the columns that say of a label whether an image has it, if several."""
    found = {}
    for name in names:
        cells = [_text(row.get(name)) for row in table]
        if None not in cells:
            cells = [cell.lower() for cell in cells]
            there = set(cells)
            if there <= _YES | _NO | _EMPTY | _MINUS and there & (_YES | _NO):
                found[name] = cells
    return found if len(found) > 1 else {}


def _notes(each):
    counts = collections.Counter(cell for cells in each.values() for cell in cells)
    for values, what in ((_MINUS, "-1"), (_EMPTY, "an empty cell")):
        if count := sum(counts[value] for value in values):
            yield f"{what} is taken as 0, in {count:,} cells"
    never = [name for name, cells in each.items() if _YES.isdisjoint(cells)]
    if never:
        yield f"no row has {some(never)}"


def _is_number_of_row(name):
    """Whether a column has no name, as pandas writes its index, or holds cells too many."""
    return not name or str(name).startswith("Unnamed: ")


def _of_cells(path, columns, cells, images, reading):
    """Returns the `Columns` with their separator, and the labels in the cells of one column."""
    cells = [_as_list(cell) if reading.multi_label else cell for cell in cells]
    if not reading.multi_label:
        labels = [_text(cell) for cell in cells]
        for number, label in enumerate(labels, start=2):
            if label is None:
                several = isinstance(cells[number - 2], list)
                how = ": give --multi-label for several" if several else ""
                raise UsageError(
                    f"{path} must have an image and one label in each row{how}. Received row "
                    f"{number}: {images[number - 2]}, {cells[number - 2]}"
                )
        columns = columns._replace(notes=(*_doubt(labels), *columns.notes))
        return columns, [(label,) if label else () for label in labels]
    texts = [cell for cell in cells if isinstance(cell, str)]
    separator = reading.label_separator or _separator(texts, len(set(images)) < len(images))
    found = []
    for cell in cells:
        parts = cell if isinstance(cell, list) else cell.split(separator) if separator else [cell]
        names = [name for part in parts if (name := _text(part))]
        found.append(tuple(dict.fromkeys(names)))
    empty = sum(not names for names in found)
    notes = (f"{empty:,} of {len(found):,} rows have no label",) if empty else ()
    return columns._replace(separator=separator, notes=(*notes, *columns.notes)), found


def _as_list(cell):
    """Returns a cell as a list of labels, if it is one, also as pandas writes it, or as text."""
    if isinstance(cell, list):
        return cell
    text = _text(cell) or ""
    if text.startswith("[") and text.endswith("]"):
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return text
        return [str(name) for name in found]
    return "" if text.lower() == "nan" else text


def _separator(texts, images_repeat):
    """Returns what separates labels in cells: a mark, or where each image has one row, a space."""
    for mark in _SEPARATORS:
        if any(mark in text for text in texts):
            return mark
    has_spaces = any(" " in text.strip() for text in texts)
    return " " if has_spaces and not images_repeat else None


def _doubt(labels):
    """Says so where cells look like several labels each."""
    cells = set(labels)
    for mark in (*_SEPARATORS, " "):
        several = sorted(cell for cell in cells if mark in cell)
        parts = {part.strip() for cell in cells for part in cell.split(mark)}
        if several and len(parts) < len(cells):
            yield (
                f'each cell is one class, such as "{several[0]}" (give --multi-label if that is '
                "several labels)"
            )
            return


def _text(value):
    """Returns a value as text without spaces around it; None where it is none, or several."""
    return None if value is None or isinstance(value, list | dict) else str(value).strip()


def _column(columns, asked, usual):
    if asked:
        return asked if asked in columns else None
    by_name = {_word(name): name for name in reversed(columns)}
    return next((by_name[word] for word in map(_word, usual) if word in by_name), None)


def _word(name):
    return re.sub(r"[\W_]", "", str(name)).lower()
