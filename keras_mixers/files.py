"""Files that are complete or not there at all, in a folder or a bucket."""

import contextlib
import os

from keras_mixers.errors import UsageError

_BUCKETS = ("gs", "s3")


@contextlib.contextmanager
def atomic_writer(path):
    """Yields a path to write to, which becomes `path`, an `epath.Path`, where that succeeds."""
    part = path.parent / f"{path.name}.part"
    try:
        yield part
        if not is_remote(part):
            with open(part, "rb") as file:
                os.fsync(file.fileno())  # Or a crash of the machine leaves the name and no content.
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def write(path, data):
    """Writes bytes, or text, to an `epath.Path`."""
    with atomic_writer(path) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)


def named(flag, text):
    """Returns the `epath.Path` that a user gave, on a disk or in a bucket.

    Raises:
        UsageError: It is neither.
    """
    from etils import epath

    scheme, separator, _ = text.partition("://")
    if separator and scheme not in _BUCKETS:
        raise UsageError(
            f"{flag} must be a path on a disk or in a bucket ({'://, '.join(_BUCKETS)}://). "
            f"Received: {text}"
        )
    return epath.Path(text).expanduser()


def is_remote(path):
    """Returns whether a path is in a bucket."""
    return "://" in str(path)
