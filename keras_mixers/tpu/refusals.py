"""What the TPU's compiler says when it does not take a step."""

import re

from keras_mixers.errors import RunError, first_line

# Before it has placed all arrays, and after.
_TOO_MUCH = (
    r"temporaries \(([\d.]+[KMGT]?)\) exceeds available HBM \(([\d.]+[KMGT]?)\)",
    r"Used ([\d.]+[KMGT]?) of ([\d.]+[KMGT]?) hbm",
)


class DoesNotFitError(Exception):
    """A step needs more memory than a chip has: at least `needed` of `available` bytes."""

    batch_size = None
    """Of that step, over all chips, where it is known."""

    def __init__(self, needed, available):
        super().__init__(needed, available)
        self.needed, self.available = needed, available


def refusal(error):
    """Returns the exception to raise for one of the compiler: `DoesNotFitError` or `RunError`."""
    for pattern in _TOO_MUCH:
        if sizes := re.search(pattern, str(error)):
            return DoesNotFitError(*(_bytes(size) for size in sizes.groups()))
    return RunError(f"The TPU's compiler does not take this step. It says: {first_line(error)}")


def _bytes(text):
    """Reads a size as the compiler writes it, such as 15.75G."""
    powers = {"K": 10, "M": 20, "G": 30, "T": 40}
    return float(text.rstrip("KMGT")) * 2 ** powers.get(text[-1], 0)
