"""The lock of a run folder: one process at a time."""

import contextlib

import filelock

from keras_mixers import files
from keras_mixers.errors import UsageError


@contextlib.contextmanager
def locked(folder):
    """Makes a run folder and, on a disk, keeps other processes out, however this one ends.

    Raises:
        UsageError: It cannot be written, or another process works in it.
    """
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    except OSError as error:
        raise UsageError(f"--out must be a folder to write into. Received: {error}") from None
    # A lock that is a file's mere existence would outlive a process that was killed.
    if files.is_remote(path) or filelock.FileLock is filelock.SoftFileLock:
        yield
        return
    lock = filelock.FileLock(path, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise UsageError(
            f"--out: {folder} is in use by another process; wait for its end, stop it, or give "
            "another folder."
        ) from None
    except (OSError, NotImplementedError):
        pass  # A file system without locks.
    try:
        yield
    finally:
        lock.release()
