"""The size of a model's images, as a command line and config.json have it."""

import re
from typing import Annotated

import pydantic


def _parsed(value):
    """Returns a side of a square, or `(height, width)`, of `"160x320"`, `["160", "320"]`, ..."""
    values = value if isinstance(value, tuple | list) else (value,)
    words = [word for v in values for word in re.split(r"[\sx,()]+", str(v)) if word]
    whole = all(word.isdecimal() and int(word) > 0 for word in words)
    if not whole or len(words) not in (1, 2) or any(isinstance(v, bool | float) for v in values):
        raise ValueError("must be pixels from 1, such as 224, or height x width, such as 160x320")
    sides = tuple(map(int, words))
    return sides[0] if len(set(sides)) == 1 else sides


def shown(image_size):
    """Returns it as a command line takes it, such as `"160x320"`."""
    return "x".join(map(str, image_size)) if isinstance(image_size, tuple) else str(image_size)


ImageSize = Annotated[int | tuple[int, int], pydantic.BeforeValidator(_parsed)]
"""A number for a square, or `(height, width)`."""
