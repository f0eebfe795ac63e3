"""Images that could not be read: told once, and few enough to go on."""

import numpy as np

from keras_mixers.errors import RunError

_NAMED = 10


class UnreadableImages:
    """Those of a run.

    Args:
        limit: Largest share of a split.
    """

    def __init__(self, limit):
        self._limit, self._lines = limit, {}

    def note(self, images, found, split, say, write):
        """Takes in what was found in a batch.

        Args:
            images: The `ImageData`.
            found: Indices, of new ones or of known ones.
            split: Of the images.
            say: Called with a sentence for people.
            write: Called with a line for a file: name and reason.

        Raises:
            RunError: They are too many now.
        """
        if not found:
            return
        for index in sorted(index for index in found if (split, index) not in self._lines):
            reason = images.why_unreadable(index)
            if not reason:
                say(f"Skipped once: {images.name(index)}; it can be read now.")
                continue
            line = f"{images.name(index)}: {reason}"
            self._lines[split, index] = line
            say(f"Skipped: {line}")
            write(line)
        of_split = sorted(index for name, index in self._lines if name == split)
        require_few(images, of_split, split, self._limit)

    def lines(self):
        """Returns what was written so far."""
        return list(self._lines.values())

    def state(self):
        """Returns what `load_state` takes, for JSON."""
        return [[*key, line] for key, line in sorted(self._lines.items())]

    def load_state(self, state):
        self._lines = {(split, index): line for split, index, line in state}


def indices(marks):
    """Returns the unreadable images that the marks of batches are of: what is not -1, as a set."""
    return {int(index) for array in marks for index in np.ravel(array) if index >= 0}


def require_few(images, unreadable, split, limit):
    """Raises a `RunError` with names where more than a share of `limit` are `unreadable`."""
    if len(unreadable) <= limit * len(images):
        return
    names = ", ".join(images.name(index) for index in unreadable[:_NAMED])
    more = ", ..." if len(unreadable) > _NAMED else ""
    raise RunError(
        f"{len(unreadable):,} of {len(images):,} images of {split} could not be read, more than "
        f"--max-unreadable {limit:g} allows: fix or remove them ({names}{more}), or allow more."
    )
