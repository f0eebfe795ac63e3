"""Files of others, fetched once into Keras' cache: whole, or not at all."""

import contextlib
import os

import keras


class DownloadError(ValueError):
    """A file could not be fetched.

    Attributes:
        path: Where to put it by hand.
    """

    def __init__(self, reason, path):
        super().__init__(reason)
        self.path = path


def into_cache(url, folder, name, check):
    """Returns the path of a file in Keras' cache, downloaded with a progress bar if need be.

    A file is given its name once it has passed `check`: one cut short is never taken for it. One
    that is there already, or was put there by hand, is taken as it is.

    Args:
        url: Where it is.
        folder: Within the cache, such as `"models"`.
        name: Of the file in `folder`.
        check: Called with the path of what came; raises a `ValueError` if it is not the file.

    Raises:
        DownloadError: It could not be fetched, or what came is not the file.
    """
    home = os.path.expanduser(os.environ.get("KERAS_HOME", "~/.keras"))
    path = os.path.join(home, folder, name)
    if os.path.exists(path):
        return path
    part = f"{name}.{os.getpid()}.part"
    with contextlib.suppress(OSError):
        os.makedirs(home, exist_ok=True)  # Without it Keras takes a temporary folder.
    try:
        fetched = keras.utils.get_file(
            part, url, cache_dir=home, cache_subdir=folder, force_download=True
        )
    except Exception as error:  # get_file has no type for what goes wrong on the way.
        raise DownloadError(" ".join(str(error).split()), path) from error
    try:
        check(fetched)
    except ValueError as error:
        # A page of the server, or cut short by one that does not say how long the file is.
        os.remove(fetched)
        raise DownloadError(f"what came is no whole file: {error}", path) from error
    path = fetched.removesuffix(part) + name  # Elsewhere, if the cache cannot be written to.
    os.replace(fetched, path)
    return path
