"""How the images and labels of a set are read: by which names, one label each or several."""

import functools
import logging
import typing

_log = logging.getLogger("keras_mixers")


class Reading(typing.NamedTuple):
    """What a person says of records and tables; a run has it among its settings."""

    image_key: str | None = None
    """Name of the images in records, or of their column in a table; None to look for it."""
    label_key: str | None = None
    """The same of the labels."""
    multi_label: bool = False
    """Whether an image may have several labels, or none."""
    label_separator: str | None = None
    """What separates the labels in a cell of a table; None to look for it."""


def multi_hot(numbers, classes):
    """Returns float32 `(classes,)`, 1 for each of some labels; raises where one is out of range.

    Args:
        numbers: int64 tensor `(labels,)`, which may be empty.
        classes: Number of classes.
    """
    import tensorflow as tf

    why = f"its labels must be from 0 to {classes - 1}; they are {{}}"
    are_known = tf.reduce_all((numbers >= 0) & (numbers < classes))
    checked = tf.debugging.Assert(are_known, [tf.strings.format(why, numbers)])
    with tf.control_dependencies([] if checked is None else [checked]):
        counts = tf.reduce_sum(tf.one_hot(numbers, classes), axis=0)
    return tf.minimum(counts, 1.0)


@functools.cache
def say_once(line):
    """Logs what was assumed of a set, once a process: each of its splits is opened by itself."""
    _log.warning("%s", line)
