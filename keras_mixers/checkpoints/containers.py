"""Weight files by their container: which arrays lie in them, by name, and how to read each.

Nothing here knows a model. What a file says of its sizes is not believed: the caller looks at an
array's shape before it is read. No pickle is opened, except by PyTorch's own reader of weights
alone, where PyTorch is installed.
"""

import contextlib
import io
import json
import os
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

_HDF5 = b"\x89HDF\r\n\x1a\n"
_MAX_HEADER = 10_000  # Bytes of a .npy header: a name of a type and a shape.
_MAX_CONFIG = 100_000_000
KINDS = ".weights.h5, .keras, .npz, .safetensors or .pth"


class UnreadableFile(ValueError):
    """A file that is damaged, or no weight file at all."""


class Stored(NamedTuple):
    """An array in a file: `shape` as the file says, and `read()`, which returns it in float32."""

    shape: tuple
    read: Callable


@contextlib.contextmanager
def arrays_in(path, entry=None):
    """Context manager: opens a file, recognised by its first bytes; gives `{name: Stored}`.

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
        except UnreadableFile:
            raise
        except Exception as error:  # What a damaged file makes of its reader is without limits.
            raise _unreadable(error) from error
        yield {name: _guarded(name, stored) for name, stored in arrays.items()}


def _unreadable(error):
    words = " ".join(str(error).split())
    return UnreadableFile(f"it cannot be read: {words[:200] or type(error).__name__}")


def _guarded(name, stored):
    def read():
        try:
            array = _to_float32(stored.read())
        except Exception as error:
            raise UnreadableFile(f"its array {name!r} cannot be read: {error}") from error
        if array.shape != stored.shape:
            raise UnreadableFile(f"its array {name!r} is cut short")
        return array

    return Stored(tuple(stored.shape), read)


def _to_float32(array):
    import ml_dtypes  # Comes with Keras.

    if array.dtype == np.dtype("V2"):  # As NumPy saves bfloat16.
        array = array.view(ml_dtypes.bfloat16)
    if array.dtype.kind != "f" and array.dtype != ml_dtypes.bfloat16:
        raise UnreadableFile(f"it holds {array.dtype}, not floating-point numbers")
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


def _zip(path, stack, entry):
    archive = stack.enter_context(zipfile.ZipFile(path))
    names = archive.namelist()
    if len(set(names)) < len(names):
        raise UnreadableFile("two of its arrays have the same name")
    if "model.weights.h5" in names:
        stored = archive.getinfo("model.weights.h5")
        if stored.file_size > 2 * os.path.getsize(path) + _MAX_HEADER:
            raise UnreadableFile("its weights are packed, as Keras never does")
        return _hdf5(io.BytesIO(archive.read(stored)), stack, entry)
    if any(name.endswith("data.pkl") for name in names):
        return _torch(path, stack, entry)
    return {name.removesuffix(".npy"): _npy(archive, name) for name in names}


def is_whole(path):
    """Returns whether a weight file has its end, as far as its beginning and end tell."""
    with open(path, "rb") as file:
        start = file.read(9)
        if start[:2] == b"PK":
            return zipfile.is_zipfile(file)
        if start[8:] == b"{":
            return _safetensors_size(file) == os.path.getsize(path)
    return start[:1] == b"\x80"  # A pickle, which says nothing of its length.


def _safetensors_size(file):
    """Returns how many bytes the header of a .safetensors file speaks of; 0 where it is cut off."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    try:
        arrays = json.loads(file.read(min(length, _MAX_CONFIG)))
        arrays.pop("__metadata__", None)
        return 8 + length + max(about["data_offsets"][1] for about in arrays.values())
    except (ValueError, KeyError, TypeError, AttributeError):
        return 0


def config_in(path):
    """Returns the config of the model in a .keras file, or None of any other file.

    Raises:
        UnreadableFile: The file is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            stored = archive.getinfo("config.json")
            if stored.file_size > _MAX_CONFIG:
                raise UnreadableFile(f"its config.json has {stored.file_size} bytes")
            return json.loads(archive.read(stored))
    except (KeyError, zipfile.BadZipFile):
        return None
    except UnreadableFile:
        raise
    except Exception as error:
        raise _unreadable(error) from error


def _npy(archive, name):
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read_header(file, max_header_size=_MAX_HEADER)
    if dtype.hasobject:
        raise UnreadableFile(f"its array {name!r} is pickled, and pickles are not opened")

    def read():
        with archive.open(name) as file:
            array = np.lib.format.read_array(file, allow_pickle=False, max_header_size=_MAX_HEADER)
            if file.read(1):  # At the end the checksum is compared, too.
                raise UnreadableFile("it is longer than its shape says")
        return array

    return Stored(shape, read)


def _hdf5(file, stack, entry):
    import h5py

    contents = stack.enter_context(h5py.File(file))
    arrays = {}

    def visit(name, item):  # Links to other files are not followed.
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual or item.dtype.hasobject:
                raise UnreadableFile(f"its array {name!r} lies elsewhere")
            arrays[name] = Stored(item.shape, lambda: item[()])

    contents.visititems(visit)
    return arrays


def _safetensors(path, stack, entry):
    try:
        from safetensors import safe_open
    except ModuleNotFoundError as error:
        raise UnreadableFile(
            'reading .safetensors takes a package more: pip install "keras_mixers[weights]"'
        ) from error
    file = stack.enter_context(safe_open(os.fspath(path), framework="numpy"))
    return {name: _tensor(file, name) for name in file.keys()}  # noqa: SIM118


def _tensor(file, name):
    shape = tuple(file.get_slice(name).get_shape())
    return Stored(shape, lambda: file.get_tensor(name))


def _torch(path, stack, entry):
    try:
        import torch
    except ModuleNotFoundError as error:
        raise UnreadableFile(
            "it is a PyTorch file, a pickle, which PyTorch alone can open safely: install torch, "
            "or save the weights as .safetensors where it is installed"
        ) from error
    contents = torch.load(
        os.fspath(path), map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
    )
    weights = _entry_of(contents, entry)
    return {
        name: Stored(tuple(tensor.shape), tensor.detach().float().numpy)
        for name, tensor in weights.items()
        if isinstance(tensor, torch.Tensor)
    }


def _entry_of(contents, entry):
    if not isinstance(contents, dict):
        raise UnreadableFile(f"it holds a {type(contents).__name__}, not arrays by name")
    sets = [name for name, value in contents.items() if isinstance(value, dict)]
    if entry is None:
        usual = [name for name in ("model", "state_dict", "model_ema") if name in sets]
        return contents[usual[0]] if usual else contents
    if entry not in sets:
        raise UnreadableFile(f"it has no entry {entry!r}, but {', '.join(sets) or 'none at all'}")
    return contents[entry]
