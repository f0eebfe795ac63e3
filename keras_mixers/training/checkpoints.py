"""Checkpoints of a run: one file each, complete or not there at all.

A file is NumPy's .npz with every number of the training state and a JSON text; its parts carry
checksums, and reading one runs no code.
"""

import io
import json
import re
import zipfile

import numpy as np

from keras_mixers import files
from keras_mixers.errors import RunError

_ABOUT = "about"
_NAME = re.compile(r"step-(\d+)")
_STATE = ("trainable", "non_trainable", "optimizer", "average")


class Checkpoints:
    """The newest checkpoints in a folder.

    Args:
        folder: An `epath.Path`, kept as `folder`; made when the first one is saved.
        keep: How many are kept.
    """

    def __init__(self, folder, keep):
        self.folder, self._keep = folder, keep
        self._damaged = set()

    def save(self, step, state, about):
        """Writes a checkpoint under another name, renames it, and removes those that are too many.

        Removed are also those that were found damaged, and what a killed process left unfinished.

        Args:
            step: Steps done.
            state: Dict of lists of arrays.
            about: Dict that JSON can hold.

        Raises:
            RunError: The disk does not take it. What was there is still there.
        """
        path = self._path(step)
        arrays = {f"{name}/{i}": v for name, vs in state.items() for i, v in enumerate(vs)}
        about = {**about, "arrays": _counts(state)}
        arrays[_ABOUT] = np.frombuffer(json.dumps(about).encode(), "uint8")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for unfinished in self.folder.glob("step-*.npz.part"):
                unfinished.unlink()
            with files.atomic_writer(path) as part:
                _write(part, arrays)
            for damaged in self._damaged - {path}:
                damaged.unlink(missing_ok=True)
            self._damaged = set()
            for old in self.paths()[: -self._keep]:
                old.unlink()
        except OSError as error:
            raise RunError(
                f"The checkpoint of step {step:,} could not be written: {error}. Make room, or "
                f"let the folder be written to, or give another --out; {self._good()}."
            ) from None

    def load_newest(self, warn):
        """Returns step, state and `about` of the newest checkpoint that is whole, or None.

        Args:
            warn: Called with a sentence for each that is damaged.

        Raises:
            RunError: There are checkpoints, and all are damaged.
        """
        paths = self.paths()
        for path in reversed(paths):
            try:
                found = load(path)
            except RunError as error:
                self._damaged.add(path)
                warn(f"{error} One before it is looked for.")
            else:
                return (_step(path), *found)
        if paths:
            raise RunError(
                f"All checkpoints in {self.folder} are damaged: give another --out to start anew, "
                "or remove them."
            )
        return None

    def paths(self):
        """Returns the paths of the checkpoints not known to be damaged, oldest first."""
        if not self.folder.exists():
            return []
        paths = [path for path in self.folder.glob("step-*.npz") if _NAME.fullmatch(path.stem)]
        return sorted(set(paths) - self._damaged, key=_step)

    def _path(self, step):
        return self.folder / f"step-{step:09d}.npz"

    def _good(self):
        paths = self.paths()
        return f"the last good one is {paths[-1]}" if paths else "there is none yet"


def load(path):
    """Returns the state and `about` in a checkpoint file.

    Raises:
        RunError: It is damaged.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            arrays = {part.filename: _array(archive, part) for part in archive.infolist()}
        about = json.loads(arrays.pop(f"{_ABOUT}.npy").tobytes())
        state = {name: [] for name in _STATE}
        for name in _STATE:
            while (array := arrays.pop(f"{name}/{len(state[name])}.npy", None)) is not None:
                state[name].append(array)
        if arrays or about.pop("arrays") != _counts(state):
            raise ValueError("its arrays are not those that were written")
        return state, about
    except Exception as error:  # What other bytes make of zip, NumPy and JSON has no end.
        raise RunError(f"The checkpoint {path} is damaged ({error}).") from None


def _array(archive, part):
    """Reads a part whole, since its checksum is compared at its end only."""
    memory = io.BytesIO(archive.read(part))
    array = np.lib.format.read_array(memory, allow_pickle=False)
    if memory.read(1):
        raise ValueError(f"{part.filename} is longer than its header says")
    return array


def _counts(state):
    return {name: len(state.get(name, ())) for name in _STATE}


def _step(path):
    return int(_NAME.fullmatch(path.stem)[1])


def _write(path, arrays):
    if files.is_remote(path):
        memory = io.BytesIO()
        np.savez(memory, **arrays)
        path.write_bytes(memory.getvalue())
        return
    with open(path, "wb") as file:
        np.savez(file, **arrays)


def to_go_on_from(checkpoints):
    """Returns what a run goes on from, for people; `checkpoints` may be None."""
    if checkpoints is None:
        return "the beginning: no checkpoints are kept"
    paths = checkpoints.paths()
    return str(paths[-1]) if paths else "the beginning: there is no checkpoint"
