"""What is in each record of a set: which image, which labels, of which classes."""

import dataclasses

import tensorflow as tf

from keras_mixers.data import record_files
from keras_mixers.data.reading import multi_hot, say_once
from keras_mixers.errors import UsageError, some
from keras_mixers.preprocessing import image_formats

ONE, LIST, SHARES, COLUMNS = "one", "list", "shares", "columns"
"""Forms of labels: a number, numbers, a 0 or 1 for each class, a 0 or 1 in a field for each."""

_IMAGES = ("image", "image/encoded", "image_raw", "image_bytes", "encoded", "img", "jpg", "jpeg")
_LABELS = (
    *("label", "image/class/label", "class", "target", "labels", "class_id", "category"),
    *("image/object/class/label", "classes", "targets"),
)
_TEXTS = (
    *("image/class/text", "class_name", "label_name", "class/text"),
    *("image/object/class/text", "class_names", "label_names"),
)
_BACKGROUND = {"background", "dummy", "unused", "none"}
_LOOKED_AT = 20_000
_FIRST = 64  # Records that are looked at for which fields there are.


@dataclasses.dataclass(frozen=True)
class Contents:
    """What is in each record, and how to read it."""

    image_key: str
    label_key: str
    classes: tuple[str, ...]
    first_label: int = 0
    """The label of the first of `classes`: 0, or 1 where 0 is the background."""
    form: str = ONE
    """Of the labels."""
    multi_label: bool = False
    """Whether an image may have several labels, or none."""

    def read(self, record):
        """Returns the image's bytes and its label, tensors, of a serialized `tf.train.Example`.

        The label is an int64; of several it is float32 `(classes,)`, 1 for each.
        """
        forms = {
            ONE: {self.label_key: tf.io.FixedLenFeature((), tf.int64)},
            LIST: {self.label_key: tf.io.FixedLenSequenceFeature((), tf.int64, allow_missing=True)},
            SHARES: {self.label_key: tf.io.FixedLenFeature((len(self.classes),), tf.int64)},
            COLUMNS: {key: tf.io.FixedLenFeature((), tf.int64) for key in self._columns},
        }
        image = {self.image_key: tf.io.FixedLenFeature((), tf.string)}
        features = tf.io.parse_single_example(record, image | forms[self.form])
        if self.form == COLUMNS:
            label = tf.stack([features[key] for key in self._columns])
        else:
            label = features[self.label_key]
        if self.form in (SHARES, COLUMNS):
            label = tf.cast(label > 0, tf.float32)
        else:
            label -= self.first_label
            if self.multi_label:
                label = multi_hot(tf.reshape(label, (-1,)), len(self.classes))
        return features[self.image_key], label

    @property
    def _columns(self):
        return [f"{self.label_key}/{name}" for name in self.classes]


def find(folder, read, reading):
    """Returns the `Contents` of the records in a folder; says what was assumed.

    Args:
        folder: What holds them.
        read: Function that yields so many records, as bytes, of the split to train on.
        reading: A `Reading`.

    Raises:
        UsageError: It is not clear what is what.
    """
    names = record_files.class_names(folder)
    first = [_features(record, folder) for record in read(_FIRST if reading.multi_label else 1)]
    if not first:
        raise UsageError(f"The record files in {folder} must hold images; they are empty.")
    image_key = _image_key(first[0], reading.image_key)
    label_key = _label_key(first, reading)
    if names and (image_key, label_key) == ("image", "label") and "name" in first[0]:  # Our own.
        if reading.multi_label:
            say_once(f"{folder}: each image has one label")
        return Contents(image_key, label_key, names, 0, ONE, reading.multi_label)
    return _from_labels(folder, read, names, image_key, label_key, reading.multi_label)


def _from_labels(folder, read, names, image_key, label_key, multi_label):
    lists, texts = [], {}
    for record in read(_LOOKED_AT):
        features = _features(record, folder)
        labels = tuple(features[label_key].int64_list.value) if label_key in features else ()
        lists.append(labels)
        for key in _TEXTS:
            named = features[key].bytes_list.value if key in features else ()
            if len(named) == len(labels):
                for label, text in zip(labels, named, strict=True):
                    texts.setdefault(label, text.decode(errors="replace"))
    labels = {label for each in lists for label in each}
    lengths = set(map(len, lists))
    if (not multi_label and lengths != {1}) or not labels or min(labels) < 0:
        several = " (of several, give --multi-label)" if max(lengths) > 1 else ""
        raise UsageError(
            f"{label_key} in {folder} must be a whole number from 0 in each record{several}."
        )
    about = f"{folder}: images are taken from {image_key}, labels from {label_key}"
    if len(lengths) == 1 and max(lengths) > 1 and labels <= {0, 1}:
        (count,) = lengths
        names = names or tuple(map(str, range(count)))
        if len(names) != count:
            raise UsageError(
                f"{folder}/classes.txt must have a line for each of the {count} numbers of "
                f"{label_key}; it has {len(names)}."
            )
        say_once(f"{about}, a 0 or 1 for each of {count} classes, {some(names)}")
        return Contents(image_key, label_key, names, 0, SHARES, multi_label)
    low, high = min(labels), max(labels)
    if names and names[0].lower() in _BACKGROUND and low >= 1 and high == len(names) - 1:
        names = names[1:]
    from_one = low >= 1 and (names is None or high == len(names))
    first = 1 if from_one else 0
    if names is None:
        names = tuple(texts.get(label, str(label)) for label in range(first, high + 1))
        if len(set(names)) < len(names):
            names = tuple(map(str, range(first, high + 1)))
    if high - first >= len(names):
        raise UsageError(
            f"{folder}/classes.txt must have a line for each class: there are {len(names)}, and a "
            f"label {high}."
        )
    none = f"; {lists.count(()):,} of {len(lists):,} images have none" if () in lists else ""
    one = "; each image has one" if multi_label and lengths == {1} else ""
    zero = " (0 would be the background)" if first else ""
    say_once(
        f"{about}, which are {low} to {high}{zero}: {len(names)} classes, {some(names)}{none}{one}"
    )
    return Contents(image_key, label_key, names, first, LIST if multi_label else ONE, multi_label)


def _image_key(features, asked):
    images = [
        key
        for key, feature in features.items()
        if len(feature.bytes_list.value) == 1
        and image_formats.of(feature.bytes_list.value[0][: image_formats.HEAD])
    ]
    return _chosen(features, images, asked, _IMAGES, "--image-key", "encoded images")


def _label_key(first, reading):
    """Returns which field holds the labels; of several labels, one may have none."""
    together = {key: feature for features in first for key, feature in features.items()}
    counts = {key: len(feature.int64_list.value) for key, feature in first[0].items()}
    if reading.multi_label:
        able = [
            key
            for key in together
            if any(key in each and each[key].int64_list.value for each in first)
        ]
        what = "whole numbers"
    else:
        able, what = [key for key, count in counts.items() if count == 1], "a whole number"
    usual = (reading.label_key,) if reading.label_key else _LABELS
    several = [key for key, count in counts.items() if count > 1 and key in usual]
    if several and (not able or reading.label_key) and not reading.multi_label:
        raise UsageError(
            f"--label-key must name what holds one label in each record; {several[0]} holds "
            "several: give --multi-label."
        )
    return _chosen(together, able, reading.label_key, _LABELS, "--label-key", what)


def _chosen(features, able, asked, usual, option, kind):
    known = [key for key in usual if key in able]
    found = asked or next(iter(known), able[0] if len(able) == 1 else None)
    if found in able:
        return found
    raise UsageError(
        f"{option} must name what holds {kind} in each record: "
        f"{', '.join(able) or 'nothing there does'}. Received: {asked or 'none'}, and records with "
        f"{', '.join(sorted(features))}"
    )


def _features(record, folder):
    try:
        return dict(tf.train.Example.FromString(record).features.feature)
    except Exception as error:  # protobuf has several.
        raise UsageError(
            f"The record files in {folder} must hold tf.train.Example; they hold something else: "
            f"{error}"
        ) from None
