"""An array in a file of weights, and what is refused whatever the file's format."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

MAX_LIST = 1_000_000  # Bytes of a list of arrays, which is some 100 bytes for each.
_MAX_NAME = 300


class UnreadableFile(ValueError):
    """A file that is damaged, or no weight file at all."""


class Stored(NamedTuple):
    """An array in a file: `shape` as the file says, and `read()`, which returns it in float32."""

    shape: tuple
    read: Callable


class Arrays(dict):
    """`{name: Stored}` of a file.

    Attributes:
        metadata: What the file says beside, a dict of strings; empty where its kind has none.
    """

    def __init__(self, arrays, metadata=None):
        super().__init__(arrays)
        self.metadata = metadata or {}


def in_a_line(message):
    """Returns at most 200 printable characters of a message, or an error, of others."""
    words = " ".join(str(message).split())[:200]
    return "".join(c if c.isprintable() else "?" for c in words) or type(message).__name__


def check_name(name):
    """Raises an `UnreadableFile` where a name of an array is not text of a common length."""
    if not isinstance(name, str) or len(name) > _MAX_NAME or not name.isprintable():
        raise UnreadableFile("one of its arrays has no readable name")


def check_unique(names):
    """Raises an `UnreadableFile` where a name occurs twice."""
    if len(set(names)) < len(names):
        raise UnreadableFile("two of its arrays have the same name")


def check_type(dtype):
    """Raises an `UnreadableFile` where an array is not of floating-point numbers."""
    import ml_dtypes  # Comes with Keras.

    # V2 is how NumPy saves bfloat16.
    if dtype.kind != "f" and dtype not in (np.dtype("V2"), np.dtype(ml_dtypes.bfloat16)):
        raise UnreadableFile(f"it holds {dtype}, not floating-point numbers")
