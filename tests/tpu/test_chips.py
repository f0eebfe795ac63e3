"""Which slices there are, and what their chips can do."""

import pytest

from keras_mixers.errors import UsageError
from keras_mixers.tpu import chips


@pytest.mark.parametrize(
    "topology",
    [
        "v9:2x2",
        "4x4",
        "",
        *(f"v5e:{s}" for s in ("", "3x3", "2x2x1", "32x32", "-2x2", "axb", "4X4")),
    ]
    + [f"v4:{s}" for s in ("4x4", "1x1x1", "2x2x0", "8x4x4", "6x6x6", "4x4x4x4", "32x32x32")],
)
def test_slices_that_there_are_not(topology):
    with pytest.raises(UsageError, match=r"^--topology must .*Received: "):
        chips.check_slice(topology)


@pytest.mark.parametrize(
    "topology", ["v5e:1x1", "v6e:16x16", "v4:2x2x1", "v4:4x4x8", "v4:16x16x16", "v5p:16x16x24"]
)
def test_slices_that_there_are(topology):
    chips.check_slice(topology)


@pytest.mark.parametrize(
    ("name", "teraflops", "gigabytes", "rate", "exchange", "largest", "config"),
    [
        ("v4", 275, 30.75, 1200, 300, 4096, "megacore"),
        ("v5e", 197, 15.75, 819, 200, 256, None),
        ("v5p", 459, 95.73, 2765, 600, 6144, "megacore"),
        ("v6e", 918, 31.24, 1640, 448, 256, None),
    ],
)
def test_rates_of_the_guide(name, teraflops, gigabytes, rate, exchange, largest, config):
    chip = chips.CHIPS[name]
    assert f"/{name}" in chip.source
    assert (chip.most, chip.config) == (largest, config)
    assert (chip.flops, chip.memory_rate) == (teraflops * 1e12, rate * 1e9)
    assert chip.exchange_rate == exchange * 1e9
    assert chip.memory == gigabytes * 2**30
