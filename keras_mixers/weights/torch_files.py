"""PyTorch's files: state dicts and training checkpoints, read without running what is in them.

A checkpoint holds more than weights: the options of the run, a scheduler, NumPy's numbers.
PyTorch's restricted reader refuses all that it does not know; here each such name becomes an empty
object that does nothing, and the arrays beside it can be read.
"""

import collections
import contextlib
import io
import itertools
import logging
import mmap
import os
import pickle
import pickletools
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

from keras_mixers.weights.stored import Stored, UnreadableFile, in_a_line

_log = logging.getLogger("keras_mixers")

USUAL_ENTRIES = ("model", "state_dict", "model_state_dict", "model_ema", "state_dict_ema")
"""Names of the entries of a checkpoint that hold weights, the first of which is taken."""

_LEGACY_PICKLES = 5  # Before PyTorch 1.6: a number, the version, the machine, contents, names.
_STATE_DICT = "torch.save(model.state_dict(), 'weights.pth')"


def arrays(torch, path, entry):
    """Returns the arrays of a file by name, as `Stored`.

    Args:
        torch: The module.
        path: Of the file.
        entry: Of several sets of weights, the one to take; None for the first of the usual names.

    Raises:
        UnreadableFile: It holds no arrays by name.
    """
    made = {}
    with _inert(torch, path, made):
        try:
            contents = _load(torch, path)
        except pickle.UnpicklingError as error:
            why = error.__context__ or error  # Theirs is in a page about who may be trusted.
            if "persistent_load of storage" in str(why):  # Of a class, in files before 1.6.
                raise _whole_model("object") from error
            raise UnreadableFile(f"PyTorch does not open it: {in_a_line(why)}") from error
    if id(contents) in made:
        raise _whole_model(made[id(contents)][0])
    weights = _entry_of(contents, entry, made)
    return {
        name: Stored(tuple(value.shape), lambda value=value: _of_tensor(value))
        for name, value in weights.items()
        if isinstance(value, torch.Tensor)
    }


def _load(torch, path):
    options = dict(map_location="cpu", weights_only=True)
    if zipfile.is_zipfile(path):
        return torch.load(os.fspath(path), mmap=True, **options)
    with _mapped(path) as file:
        return torch.load(file, **options)


@contextlib.contextmanager
def _mapped(path):
    """Context manager: gives a file of which no piece can be longer than the file."""
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        yield mapped


def _inert(torch, path, made):
    """Context manager: PyTorch's reader makes empty objects of all names that it would refuse."""
    if not hasattr(getattr(torch, "serialization", None), "safe_globals"):  # Before 2.5.
        return contextlib.nullcontext()
    names = _names(path)
    return torch.serialization.safe_globals([(_stand_in(name, made), name) for name in names])


def _names(path):
    """Returns the names of what a file's pickles would import."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            entry = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            return _imported(io.BytesIO(archive.read(entry)), pickles=1)
    with _mapped(path) as file:
        return _imported(file, _LEGACY_PICKLES)


def _imported(file, pickles):
    operations = itertools.chain.from_iterable(pickletools.genops(file) for _ in range(pickles))
    names = {tuple(found.split(" ", 1)) for code, found, _ in operations if code.name == "GLOBAL"}
    return {".".join(_today(*name)) for name in names}


def _today(module, name):
    """Python 2's names, which PyTorch writes, as Python 3 reads them."""
    module, name = NAME_MAPPING.get((module, name), (module, name))
    return IMPORT_MAPPING.get(module, module), name


def _stand_in(name, made):
    """Returns a class whose instances are empty, whatever they are made with.

    Most are a kind of dictionary, because PyTorch's reader puts entries into nothing else; of
    these, only a Counter's may have slots. NumPy's take their state as a longer tuple.
    """
    if name.startswith("numpy."):
        return type(name, (_Nothing,), {})

    def new(cls, *args, **kwargs):
        instance = collections.Counter()
        made[id(instance)] = name, instance  # Kept, so that no other gets its id.
        return instance

    return type(name, (), {"__new__": new})


class _Nothing:
    def __new__(cls, *args, **kwargs):
        return object.__new__(cls)

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        pass


def _whole_model(name):
    return UnreadableFile(
        f"it holds a whole model, a pickled {in_a_line(name)}, which cannot be opened without "
        f"running code: where you trust that, save its weights only, with {_STATE_DICT}"
    )


def _of_tensor(tensor):
    if not tensor.is_floating_point():
        raise UnreadableFile(f"it holds {tensor.dtype}, not floating-point numbers")
    return tensor.detach().float().numpy()


def _entry_of(contents, entry, made):
    if not isinstance(contents, dict):
        raise UnreadableFile(f"it holds a {type(contents).__name__}, not arrays by name")
    objects = {name: made[id(value)][0] for name, value in contents.items() if id(value) in made}
    sets = [n for n, value in contents.items() if isinstance(value, dict) and n not in objects]
    wanted = USUAL_ENTRIES if entry is None else (entry,)
    found = [name for name in wanted if name in sets]
    whole = [objects[name] for name in wanted if name in objects]
    if not found and whole:
        raise _whole_model(whole[0])
    if entry is not None and not found:
        others = in_a_line(", ".join(map(str, sets)) or "none at all")
        raise UnreadableFile(f"it has no entry {entry!r}, but {others}")
    if len(found) > 1:
        others = " or ".join(repr(name) for name in found[1:])
        _log.warning("weights: of the file's entries %r is taken, not %s", found[0], others)
    return contents[found[0]] if found else contents
