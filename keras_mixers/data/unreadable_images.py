"""Images that could not be read: told once, and few enough to go on."""

import numpy as np

from keras_mixers.errors import RunError

_NAMED = 10


class UnreadableImages:
    """Those of a run.

    Args:
        config: A `TrainingConfig`.
    """

    def __init__(self, config):
        self._config, self._lines = config, {}

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
            reason = images.why_unreadable(index, self._config)
            if not reason:
                say(f"Skipped once: {images.name(index)}; it can be read now.")
                continue
            line = f"{images.name(index)}: {reason}"
            self._lines[split, index] = line
            say(f"Skipped: {line}")
            write(line)
        of_split = sorted(index for name, index in self._lines if name == split)
        require_few(images, of_split, split, self._config.max_unreadable)

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
    """Raises a `RunError` with names where more than a share of `limit` are `unreadable`.

    A limit of None is 0.001; of sets of less than 10,000 images it is 10 images, of those of less
    than 200 a twentieth, but at least one image.
    """
    allowed = _usual(len(images)) if limit is None else limit * len(images)
    if len(unreadable) <= allowed:
        return
    names = ", ".join(images.name(index) for index in unreadable[:_NAMED])
    more = ", ..." if len(unreadable) > _NAMED else ""
    said = f"the {int(allowed):,} that are allowed" if limit is None else f"{limit:g} allows"
    said = said if limit is None else f"--max-unreadable {said}"
    raise RunError(
        f"{len(unreadable):,} of {len(images):,} images of {split} could not be read, more than "
        f"{said}: fix or remove them ({names}{more}), or allow more by --max-unreadable."
    )


def _usual(images):
    return max(0.001 * images, min(10, max(1, images // 20)))
