"""What the chips can do, as Google publishes it."""

import typing


def kind_of(topology):
    """Returns the chip's name in that of a slice, such as "v5e" of "v5e:4x4"."""
    return topology.partition(":")[0]


class Chip(typing.NamedTuple):
    """A TPU chip: one device of JAX and one replica of TPUStrategy."""

    flops: float
    """Peak arithmetic in bfloat16, per second."""
    memory: float
    """Bytes of HBM."""
    memory_rate: float
    """Bytes per second between chip and HBM."""
    exchange_rate: float
    """Bytes per second that a chip can send to its neighbours, over all its links together."""
    source: str
    """Where these figures are published."""
    config: str | None = None
    """The compiler's name for both cores of a chip as one device, where it must be asked for."""


_GUIDE = "https://docs.cloud.google.com/tpu/docs"

CHIPS = {
    # Six links of 50 GB/s each way: https://arxiv.org/abs/2304.01433, Table 4.
    "v4": Chip(275e12, 32 * 2**30, 1200e9, 300e9, f"{_GUIDE}/v4", config="megacore"),
    # 400 GB/s both ways together.
    "v5e": Chip(197e12, 16 * 2**30, 819e9, 200e9, f"{_GUIDE}/v5e"),
    # 4,800 Gbit/s.
    "v5p": Chip(459e12, 95 * 2**30, 2765e9, 600e9, f"{_GUIDE}/v5p", config="megacore"),
    # 800 GB/s both ways together.
    "v6e": Chip(918e12, 32 * 2**30, 1638e9, 400e9, f"{_GUIDE}/v6e"),
}
