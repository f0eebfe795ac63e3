"""Files that are complete or not there at all, in a folder or a bucket."""

import contextlib
import os


@contextlib.contextmanager
def aside(path):
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
    with aside(path) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)


def is_remote(path):
    """Returns whether a path is in a bucket."""
    return "://" in str(path)
