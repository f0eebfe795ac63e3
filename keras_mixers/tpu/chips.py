"""What the chips can do, as Google publishes it, and the slices that there are of them."""

import math
import typing

from keras_mixers.errors import UsageError


class Chip(typing.NamedTuple):
    """A TPU chip: one device of JAX and one replica of TPUStrategy."""

    flops: float
    """Peak arithmetic in bfloat16, per second."""
    memory: float
    """Bytes of HBM that libtpu 0.0.52 gives to a program."""
    memory_rate: float
    """Bytes per second between chip and HBM. Of several that are published, the largest."""
    exchange_rate: float
    """Bytes per second that a chip can send to its neighbors, over all its links together."""
    source: str
    """Where these figures are published, but for `memory`, and what else was."""
    most: int
    """Chips of the largest slice."""
    config: str | None = None
    """The compiler's name for both cores of a chip as one device; such chips have slices in 3-D."""


_GUIDE = "https://docs.cloud.google.com/tpu/docs"
_GIB = 2**30
_LINKS_OF_V4 = " (links: six of 50 GB/s each way, https://arxiv.org/abs/2304.01433, Table 4)"
_OF_V6E = " (the largest of what it has said: HBM 1,600, 1,638, 1,640 GB/s; links 400, 448 GB/s)"

CHIPS = {
    "v4": Chip(275e12, 30.75 * _GIB, 1200e9, 300e9, f"{_GUIDE}/v4{_LINKS_OF_V4}", 4096, "megacore"),
    # 400 GB/s both ways together.
    "v5e": Chip(197e12, 15.75 * _GIB, 819e9, 200e9, f"{_GUIDE}/v5e", 256),
    # 4,800 Gbit/s.
    "v5p": Chip(459e12, 95.73 * _GIB, 2765e9, 600e9, f"{_GUIDE}/v5p", 6144, "megacore"),
    "v6e": Chip(918e12, 31.24 * _GIB, 1640e9, 448e9, f"{_GUIDE}/v6e{_OF_V6E}", 256),
}

_SQUARES = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBOIDS = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4")  # Larger ones are made of the last.


def kind_of(topology):
    """Returns the chip's name in that of a slice, such as "v5e" of "v5e:4x4"."""
    return topology.partition(":")[0]


def check_slice(topology):
    """Checks the name of a slice, such as "v5e:4x4".

    Raises:
        UsageError: There is no such chip, or no such slice of it.
    """
    kind, _, shape = topology.partition(":")
    if kind not in CHIPS:
        raise UsageError(
            "--topology must be a chip and the shape of a slice: v4:2x2x1, v5e:4x4, v5p:2x2x1 or "
            f"v6e:4x4, for example. Received: {topology}"
        )
    chip = CHIPS[kind]
    shapes, cubes = (_CUBOIDS, True) if chip.config else (_SQUARES, False)
    if shape not in shapes and not (cubes and _of_cubes(shape, chip.most)):
        more = f", or multiples of 4 such as 4x4x8, to {chip.most:,} chips" if cubes else ""
        raise UsageError(
            f"--topology must have a shape that {kind} comes in: {', '.join(shapes)}{more}. "
            f"Received: {topology}"
        )


def _of_cubes(shape, most):
    sides = [int(side) if side.isdecimal() else 0 for side in shape.split("x")]
    whole = all(side and side % 4 == 0 for side in sides)
    return len(sides) == 3 and whole and sides == sorted(sides) and math.prod(sides) <= most
