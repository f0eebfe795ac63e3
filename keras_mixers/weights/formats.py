"""Weight files by their container: which arrays lie in them, by name, and how to read each.

Nothing here knows a model. What a file says of its sizes is not believed: the caller looks at an
array's shape before it is read, its type is looked at here, and lists are of limited length, so
that no file costs much more memory or time than its own size and the model's. No pickle is opened,
except PyTorch's, which its own restricted reader (`weights_only=True`) opens.
"""

import contextlib
import importlib
import io
import json
import math
import os
import zipfile

import numpy as np

from keras_mixers.weights import torch_files
from keras_mixers.weights.archives import check_unpacked, npy, open_archive, unpacked
from keras_mixers.weights.stored import (
    MAX_LIST,
    Arrays,
    Stored,
    UnreadableFile,
    check_name,
    check_type,
    check_unique,
    in_a_line,
)

_HDF5 = b"\x89HDF\r\n\x1a\n"
_MAX_CONFIG = 1_000_000  # Bytes, some 6,000 for each block of a model.
_MAX_OBJECTS = 5_000  # Groups and arrays in an HDF5 file.
_MAX_SIDES = 8
_MAX_NUMBERS = 2**30  # In all arrays, of a file that has fewer bytes; twice H/14's.
# In the metadata of .safetensors and .npz files that `save` writes; the first as JSON.
PREPROCESSING = "keras_mixers.preprocessing"
ACTIVATION = "keras_mixers.activation"
ENDINGS = (".weights.h5", ".keras", ".npz", ".safetensors", ".pth")
KINDS = f"{', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}"


@contextlib.contextmanager
def arrays_in(path, entry=None):
    """Context manager: opens a file, recognized by its first bytes; gives its `Arrays`.

    Args:
        path: Of the file.
        entry: For a PyTorch file of several sets of weights, the one to take, such as
            `"model_ema"`; by default the first of those that have usual names.

    Raises:
        UnreadableFile: In the block too, when an array is read and the file is damaged.
    """
    with contextlib.ExitStack() as stack:
        try:
            arrays = _opener(path)(path, stack, entry)
            guarded = {name: _guarded(name, stored) for name, stored in arrays.items()}
            guarded = Arrays(guarded, getattr(arrays, "metadata", None))
            _check_amount(guarded.values(), os.path.getsize(path))
        except UnreadableFile:
            raise
        except Exception as error:  # What a damaged file makes of its reader is without limits.
            raise UnreadableFile(f"it cannot be read: {in_a_line(error)}") from error
        yield guarded


class OpenFile:
    """A file of `arrays_in` that is open already; leaving it as a context manager closes it.

    One that nobody enters is closed when it is forgotten.
    """

    def __init__(self, path, entry=None):
        self._stack = contextlib.ExitStack()
        self.arrays = self._stack.enter_context(arrays_in(path, entry))

    def __enter__(self):
        return self.arrays

    def __exit__(self, *error):
        return self._stack.__exit__(*error)


def _guarded(name, stored):
    check_name(name)
    shape = tuple(int(side) for side in stored.shape)
    if len(shape) > _MAX_SIDES or min(shape, default=0) < 0:
        raise UnreadableFile(f"its array {name!r} has a shape of no weight")

    def read():
        try:
            array = _to_float32(stored.read())
        except Exception as error:
            why = in_a_line(error)
            raise UnreadableFile(f"its array {name!r} cannot be read: {why}") from error
        if array.shape != shape:
            raise UnreadableFile(f"its array {name!r} is cut short")
        return array

    return Stored(shape, read)


def _check_amount(arrays, size):
    if sum(math.prod(array.shape) for array in arrays) > max(size, _MAX_NUMBERS):
        raise UnreadableFile("its arrays have more numbers than it can hold")


def _to_float32(array):
    import ml_dtypes

    check_type(array.dtype)
    if array.dtype == np.dtype("V2"):
        array = array.view(ml_dtypes.bfloat16)
    return np.asarray(array, "float32")


def _opener(path):
    with open(path, "rb") as file:
        start = file.read(16)
    if start.startswith(_HDF5):
        return _hdf5
    if start[:2] == b"PK":
        return _zip
    if start[8:9] == b"{":
        return _safetensors
    if start[:1] == b"\x80":  # A pickle: PyTorch's files before version 1.6.
        return _torch
    raise UnreadableFile(f"its content is none of {KINDS}")


def reader(ending):
    """Returns the package that reads files of this ending; None where none is needed.

    Raises:
        UnreadableFile: It is not installed.
    """
    if ending not in _READERS:
        return None
    package, fix = _READERS[ending]
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise UnreadableFile(fix) from error


_READERS = {
    ".safetensors": (
        "safetensors",
        'reading .safetensors takes a package more: pip install "keras_mixers[weights]"',
    ),
    ".pth": (
        "torch",
        "it is a PyTorch file, a pickle, which only PyTorch can open safely: install torch, or "
        "save the weights as .safetensors where it is installed",
    ),
}


def _zip(path, stack, entry):
    archive = open_archive(path, stack)
    names = archive.namelist()
    if "model.weights.h5" in names:
        return _hdf5(io.BytesIO(unpacked(archive, "model.weights.h5")), stack, entry)
    if any(name.endswith("data.pkl") for name in names):
        for name in names:
            check_unpacked(archive, name)
        return _torch(path, stack, entry)
    _check_one_set(entry)
    arrays = [name.removesuffix(".npy") for name in names]
    check_unique(arrays)
    found = {array: npy(archive, name) for array, name in zip(arrays, names, strict=True)}
    return Arrays(found, _metadata(archive.comment))


def _metadata(comment):
    """The strings that `save` has left in an archive's comment; none of any other comment."""
    if not comment.startswith(b'{"keras_mixers.'):
        return None
    found = json.loads(comment)
    return {key: value for key, value in found.items() if isinstance(value, str)}


def config_in(path):
    """Returns the config of the model in a .keras file, or None of any other file.

    Raises:
        UnreadableFile: The file is damaged.
    """
    try:
        if _opener(path) is not _zip:
            return None
        with contextlib.ExitStack() as stack:
            archive = open_archive(path, stack)
            if archive.getinfo("config.json").file_size > _MAX_CONFIG:
                raise UnreadableFile("its config.json is too long")
            return json.loads(unpacked(archive, "config.json"))
    except (KeyError, zipfile.BadZipFile):
        return None
    except UnreadableFile:
        raise
    except Exception as error:
        raise UnreadableFile(f"it cannot be read: {in_a_line(error)}") from error


def _hdf5(file, stack, entry):
    import h5py

    _check_one_set(entry)
    contents = stack.enter_context(h5py.File(file))
    names, arrays = [], {}

    def visit(name):
        check_name(name)
        names.append(name)
        if len(names) > _MAX_OBJECTS:
            raise UnreadableFile(f"it has more than {_MAX_OBJECTS} groups and arrays")
        # Links to other files are not visited, but one may have the name of what is.
        if not isinstance(contents.get(name, getlink=True), h5py.HardLink):
            raise UnreadableFile(f"its array {name!r} lies elsewhere")
        item = contents[name]
        if isinstance(item, h5py.Dataset):
            arrays[name] = Stored(item.shape, lambda: _dataset(item))

    contents.visit(visit)
    check_unique(names)
    return arrays


def _dataset(item):
    check_type(item.dtype)
    # Packed, in another file, or never written; of one piece, HDF5 sees that it ends in this file.
    if item.id.get_offset() is None:
        raise UnreadableFile("it does not lie in one piece, as Keras writes it")
    return item[()]


def _safetensors(path, stack, entry):
    safetensors = reader(".safetensors")
    _check_one_set(entry)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_LIST:
            raise UnreadableFile("it has too many arrays, or their names are too long")
        header = file.read(length)
    file = stack.enter_context(safetensors.safe_open(os.fspath(path), framework="numpy"))
    # The package takes the last of two arrays of one name.
    json.loads(header, object_pairs_hook=lambda pairs: check_unique([key for key, _ in pairs]))
    return Arrays({name: _tensor(file, name) for name in file.keys()}, file.metadata())  # noqa: SIM118


def _tensor(file, name):
    shape = tuple(file.get_slice(name).get_shape())
    return Stored(shape, lambda: file.get_tensor(name))


def _torch(path, stack, entry):
    return torch_files.arrays(reader(".pth"), path, entry)


def _check_one_set(entry):
    if entry is not None:
        raise UnreadableFile(f"it has one set of weights only, and no entry {entry!r}")
