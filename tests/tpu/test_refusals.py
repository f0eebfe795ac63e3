"""What the compiler says where it does not take a step."""

import pytest

from keras_mixers.errors import RunError
from keras_mixers.tpu import refusals


@pytest.mark.parametrize(
    ("said", "needed", "available"),
    [
        (
            "memory required for HLO temporaries (59.80G) exceeds available HBM (15.75G).",
            59.8,
            15.75,
        ),
        ("Ran out of memory in memory space hbm. Used 95.62G of 94.75G hbm.", 95.62, 94.75),
        ("Used 16384M of 512K hbm", 16, 2**-11),
        ("Used 1.5T of 1073741824 hbm", 1.5 * 2**10, 1),
        ("temporaries (2.25T) exceeds available HBM (15.75G)", 2.25 * 2**10, 15.75),
    ],
)
def test_what_the_compiler_says_of_memory(said, needed, available):
    refusal = refusals.refusal(f"RESOURCE_EXHAUSTED: {said}")
    assert isinstance(refusal, refusals.DoesNotFitError)
    assert refusal.needed == pytest.approx(needed * 2**30)
    assert refusal.available == pytest.approx(available * 2**30)


def test_what_the_compiler_refuses_is_one_sentence():
    refusal = refusals.refusal("INTERNAL: Mosaic failed\nat x.cc:5")
    assert isinstance(refusal, RunError)
    assert str(refusal).endswith("does not take this step. It says: INTERNAL: Mosaic failed")
