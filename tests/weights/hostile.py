"""Hostile weight files: good ones that were cut, flipped, or rewritten to lie about themselves.

`write(kind, number, path)` makes the file of that number: the same one every time, but for
PyTorch's older format, which holds addresses of memory.
"""

import bz2
import functools
import io
import json
import lzma
import os
import pickle
import re
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from tests.weights import foreign
from tests.weights.test_foreign_files import MIXER, build_mixer

EXTREMES = (0, 1, -1, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**64 - 1)
NASTY_NAMES = ("", "..", "../../x", "/etc/passwd", "a\nb", "\x1b[2J", "\u202e", "a" * 60_000)
MARKER = Path(tempfile.gettempdir()) / f"pickle_opened_{os.getpid()}"


class Pickled:
    """Makes a folder when its pickle is opened."""

    def __reduce__(self):
        return (os.mkdir, (str(MARKER),))


class Good(NamedTuple):
    """A good file: its bytes, the positions of those outside of its arrays, and its arrays."""

    data: bytes
    metadata: np.ndarray
    arrays: dict


class Entry(NamedTuple):
    """One of a zip archive; `size` and `checksum` are what it says of its unpacked contents."""

    name: str
    data: bytes
    method: int = 0
    size: int | None = None
    checksum: int | None = None


def zipped(entries):
    """Returns a zip archive; written by hand, since zipfile writes no lies."""
    body, directory, count = bytearray(), bytearray(), 0
    for name, data, method, size, checksum in entries:
        name = name.encode("utf-8", "surrogatepass")[: 2**16 - 1]
        size = len(data) if size is None else size
        checksum = zlib.crc32(data) if checksum is None else checksum
        extra = struct.pack("<2HQ", 1, 8, size) if size >= 2**32 - 1 else b""
        short = 2**32 - 1 if extra else size
        fields = struct.pack("<5H", 45, 0x800, method, 0, 0)
        fields += struct.pack("<3I2H", checksum, len(data), short, len(name), len(extra))
        directory += b"PK\1\2\x2d\0" + fields + struct.pack("<3H2I", 0, 0, 0, 0, len(body))
        directory += name + extra
        body += b"PK\3\4" + fields + name + extra + data
        count = (count + 1) % 2**16
    end = struct.pack("<4H2IH", 0, 0, count, count, len(directory), len(body), 0)
    return bytes(body + directory + b"PK\5\6" + end)


def deflated(start, zeros):
    """Returns `start` and then that many zeros, deflated to about a thousandth of their size."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + piece * (zeros // 2**20) + packer.flush()


def npy(shape, descr="'<f4'", body=b"", version=1, length=None):
    """Returns a .npy file whose header has these texts, and says to be `length` bytes long."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(text) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + body


# The good files.


def google_arrays():
    return foreign.random_arrays(foreign.google_shapes(**MIXER), np.random.default_rng(0))


def timm_arrays():
    return foreign.random_arrays(foreign.timm_shapes(**MIXER), np.random.default_rng(0))


def _saved_by_keras(suffix):
    model, rng = build_mixer(), np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"own{suffix}"
        model.save(path) if suffix == ".keras" else model.save_weights(path)
        return path.read_bytes(), {weight.path: np.asarray(weight) for weight in model.weights}


def _saved_by_torch(legacy):
    import torch

    arrays, file = timm_arrays(), io.BytesIO()
    tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
    torch.save({"model": tensors}, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue(), arrays


def _npz():
    arrays = google_arrays()
    return zipped(npz_entries(arrays)), arrays


def _safetensors():
    arrays = timm_arrays()
    return safetensors(*header_and_body(arrays)), arrays


@functools.cache
def good(kind):
    """Returns the good file of a kind."""
    data, arrays = {
        "npz": _npz,
        "safetensors": _safetensors,
        "weights.h5": lambda: _saved_by_keras(".weights.h5"),
        "keras": lambda: _saved_by_keras(".keras"),
        "pth": lambda: _saved_by_torch(legacy=False),
        "legacy pth": lambda: _saved_by_torch(legacy=True),
    }[kind]()
    outside = np.ones(len(data), bool)
    for array in arrays.values():
        start = data.index(array.tobytes())
        outside[start : start + array.nbytes] = False
    return Good(data, np.flatnonzero(outside), arrays)


# Mutations of the bytes of any file.


def cut(rng, file):
    return file.data[: rng.integers(len(file.data))]


def flipped(rng, file):
    return _flipped(rng, file, np.arange(len(file.data)))


def flipped_in_metadata(rng, file):
    return _flipped(rng, file, file.metadata)


def _flipped(rng, file, positions):
    data = bytearray(file.data)
    for position in rng.choice(positions, rng.choice([1, 1, 2, 8, 64])):
        data[position] ^= rng.integers(1, 256)
    return bytes(data)


def overwritten_in_metadata(rng, file):
    data, start, length = bytearray(file.data), rng.choice(file.metadata), rng.integers(1, 65)
    piece = rng.choice([bytes(length), b"\xff" * length, rng.bytes(length)])
    data[start : start + length] = piece[: len(data) - start]
    return bytes(data)


def numbers_in_metadata(rng, file):
    """A number of 2, 4 or 8 bytes somewhere becomes an extreme one, or a place in the file."""
    data = bytearray(file.data)
    for position in rng.choice(file.metadata, rng.choice([1, 1, 2, 4])):
        width = int(rng.choice([2, 4, 8]))
        number = _one_of(rng, [*EXTREMES, int(rng.integers(len(data)))])
        start = position - position % int(rng.choice([1, width]))
        number = (number % 2 ** (8 * width)).to_bytes(width, "little")
        data[start : start + width] = number[: len(data) - start]
    return bytes(data)


def moved(rng, file):
    """A piece is taken out, or put in a second time somewhere else."""
    data, length = bytearray(file.data), rng.integers(1, 4096)
    start, to = rng.integers(len(data), size=2)
    piece = data[start : start + length]
    if rng.random() < 0.5:
        del data[start : start + length]
    else:
        data[to : to + rng.choice([0, length])] = piece
    return bytes(data)


BYTES = (
    *(cut, flipped, flipped_in_metadata, flipped_in_metadata),
    *(overwritten_in_metadata, numbers_in_metadata, numbers_in_metadata, moved),
)


# What may be said of an array.


def bad_shape(rng, shape):
    """Returns the text of another shape: of huge, negative or no sides, or of no numbers at all."""
    sides = [str(side) for side in shape] or ["1"]
    way = rng.integers(5)
    if way < 3:
        sides[rng.integers(len(sides))] = str(EXTREMES[rng.integers(len(EXTREMES))])
    elif way == 3:
        sides += [str(EXTREMES[rng.integers(len(EXTREMES))])] * int(rng.choice([1, 3, 40, 900]))
    else:
        sides = [str(rng.choice(["None", "True", "1.5", "'8'", "(8,)", "1e400", "-0", "8L"]))]
    return f"({', '.join(sides)},)"


def _one_of(rng, names):
    return names[rng.integers(len(names))]


# .npz.


def npz_entries(arrays):
    return [Entry(f"{name}.npy", npy(a.shape, body=a.tobytes())) for name, a in arrays.items()]


def _with_one_npy(rng, change):
    """An .npz of which one array's entry is `change(entry, array)`, or several."""
    arrays = google_arrays()
    entries, i = npz_entries(arrays), rng.integers(len(arrays))
    changed = change(entries[i], list(arrays.values())[i])
    entries[i : i + 1] = changed if isinstance(changed, list) else [changed]
    return zipped(entries)


def npy_shapes(rng, file):
    return _with_one_npy(
        rng, lambda entry, a: Entry(entry.name, npy(bad_shape(rng, a.shape), body=a.tobytes()))
    )


def npy_types(rng, file):
    types = (
        *("'|V1000000000'", "'|S2000000000'", "'<U500000000'", "'|O'", "'<f9'", "'<i4'", "'<c8'"),
        *("'|V0'", "'|V2'", "'<M8[s]'", "[('a', '<f4')]", "[('a', '<f4', (1073741824,))]", "'" * 9),
        *("('<f4', (1000000000,))", "[('a', '|O')]", "(" * 300, "-" * 9000, "[" * 90 + "]" * 90),
        *("'3000000000f4'", "'f4,' * 9", "'" + "f4," * 2000 + "f4'", "None", "'\\d'", "b'<f4'"),
    )
    body = pickle.dumps(Pickled()) if rng.random() < 0.5 else None

    def change(entry, array):
        descr = _one_of(rng, types)
        data = npy(array.shape, descr, body or array.tobytes(), version=int(rng.integers(1, 4)))
        packed = deflated(data, int(rng.choice([0, 2**32])))
        return _one_of(rng, [Entry(entry.name, data), Entry(entry.name, packed, 8, 2**33)])

    return _with_one_npy(rng, change)


def npy_objects(rng, file):
    def change(entry, array):
        body = pickle.dumps(np.array([Pickled()] * len(array), object))
        return Entry(entry.name, npy(array.shape, "'|O'", body))

    return _with_one_npy(rng, change)


def npy_headers(rng, file):
    """Of a length that is not theirs, up to gigabytes, which the archive unpacks to."""

    def change(entry, array):
        length = int(rng.choice([0, 1, 9_999, 10_001, 2**16 - 1, 2**24, 2**31, 2**32 - 1]))
        version = 1 if length < 2**16 and rng.random() < 0.5 else int(rng.integers(2, 5))
        data = npy(array.shape, body=array.tobytes(), version=version, length=length)
        bomb = Entry(entry.name, deflated(data, 2**32), 8, 2**33)
        return bomb if rng.random() < 0.5 else Entry(entry.name, data)

    return _with_one_npy(rng, change)


def npy_bombs(rng, file):
    """Gigabytes of zeros: of a shape that says so, of one that does not, of a size that does."""

    def change(entry, array):
        zeros = int(rng.choice([2**28, 2**32, 2**33]))
        start = npy(_one_of(rng, [array.shape, (zeros // 4,)]), body=array.tobytes())
        packed = deflated(start, zeros)
        size = _one_of(rng, [len(start), len(start) + zeros, 2**32, 2**60])
        checksum = zlib.crc32(start) if rng.random() < 0.5 else None
        return Entry(entry.name, packed, 8, size, checksum)

    return _with_one_npy(rng, change)


def npy_packed_otherwise(rng, file):
    """By bzip2, which packs gigabytes in a few kilobytes, and other ways that NumPy never takes."""

    def change(entry, array):
        start = npy(array.shape, body=array.tobytes())
        squeezers = {12: bz2.compress, 14: lambda data: lzma.compress(data, lzma.FORMAT_ALONE)}
        method = int(rng.choice([12, 14, 9, 93, 99]))
        zeros = _bzip2_of_zeros() * 200 if method == 12 else b""
        data = squeezers.get(method, bytes)(start) + zeros
        return Entry(entry.name, data, method, 2**33, zlib.crc32(start))

    return _with_one_npy(rng, change)


@functools.cache
def _bzip2_of_zeros():
    return bz2.compress(bytes(45 * 10**6))


def npz_names(rng, file):
    return _with_one_npy(rng, lambda entry, a: entry._replace(name=_one_of(rng, NASTY_NAMES)))


def npz_duplicates(rng, file):
    def change(entry, array):
        other = npy(array.shape, body=rng.bytes(array.nbytes))
        name = _one_of(rng, [entry.name, entry.name.removesuffix(".npy")])
        return [entry, Entry(name, _one_of(rng, [entry.data, other]))]

    return _with_one_npy(rng, change)


def npz_pickle(rng, file):
    """A pickle in place of an array, and in place of the file."""
    if rng.random() < 0.5:
        return pickle.dumps(Pickled(), protocol=int(rng.integers(2, 6)))
    return _with_one_npy(rng, lambda entry, a: Entry(entry.name, pickle.dumps(Pickled())))


def zip_sizes(rng, file):
    """An entry says another size of itself; all else is good."""
    entries = entries_of(file.data)
    i = rng.integers(len(entries))
    size = EXTREMES[rng.integers(len(EXTREMES))] % 2**64
    entries[i] = entries[i]._replace(size=size, method=int(rng.choice([0, 8])))
    return zipped(entries)


def zip_of_many(rng, file):
    """Thousands of entries beside the good ones, each of which opens the same few bytes."""
    return _with_many(file.data, int(10 ** rng.uniform(3, 5.5)))


def _with_many(data, count):
    entries = entries_of(data)
    extra = [Entry(f"x{i}.npy", npy((0,))) for i in range(min(count, 2000))]
    archive = zipped([*entries, *extra])
    end = archive.rindex(b"PK\5\6")
    place = int.from_bytes(archive[end + 16 : end + 20], "little")
    one = archive[archive.rindex(b"PK\1\2") : end]
    name = len(extra[-1].name)
    more = b"".join(one[:-name] + b"%09d" % i for i in range(count - len(extra)))
    more = more.replace(one[:-name], one[:28] + struct.pack("<H", 9) + one[30:-name])
    size = end + len(more) - place
    tail = archive[end : end + 12] + struct.pack("<2IH", size, place, 0)
    return archive[:end] + more + tail


def entries_of(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [Entry(name, archive.read(name)) for name in archive.namelist()]


# .safetensors.


def header_and_body(arrays):
    header, body = {}, b""
    for name, array in arrays.items():
        offsets = [len(body), len(body) + array.nbytes]
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": offsets}
        body += array.tobytes()
    return json.dumps(header), body


def safetensors(header, body, length=None):
    header = header.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(header) if length is None else length) + header + body


def _with_one_tensor(rng, change):
    """A file in whose header one array's entry was changed by `change(header, name)`."""
    text, body = header_and_body(timm_arrays())
    header = json.loads(text)
    change(header, _one_of(rng, list(header)))
    return safetensors(json.dumps(header), body)


def tensor_shapes(rng, file):
    def change(header, name):
        shape = bad_shape(rng, header[name]["shape"])
        try:
            header[name]["shape"] = list(eval(shape))
        except SyntaxError:
            header[name]["shape"] = shape

    return _with_one_tensor(rng, change)


def tensor_offsets(rng, file):
    """Swapped, overlapping, beyond the end, the wrong way round."""

    def change(header, name):
        other = _one_of(rng, list(header))
        ours, theirs = header[name]["data_offsets"], header[other]["data_offsets"]
        extreme = EXTREMES[rng.integers(len(EXTREMES))]
        found = _one_of(
            rng,
            [theirs, ours[::-1], [0, extreme], [extreme, extreme], [ours[0], theirs[1]], [], "x"],
        )
        header[name]["data_offsets"], header[other]["data_offsets"] = found, ours

    return _with_one_tensor(rng, change)


def tensor_types(rng, file):
    types = ("F64", "F16", "BF16", "I64", "BOOL", "F8_E4M3", "F8_E8M0", "F4", "C64", "X", 3, None)
    return _with_one_tensor(
        rng, lambda header, name: header[name].update(dtype=_one_of(rng, types))
    )


def tensor_names(rng, file):
    def change(header, name):
        header[_one_of(rng, NASTY_NAMES)] = header.pop(name)

    return _with_one_tensor(rng, change)


def tensor_duplicates(rng, file):
    text, body = header_and_body(timm_arrays())
    name = _one_of(rng, list(timm_arrays()))
    entry = json.loads(text)[_one_of(rng, [name, next(iter(timm_arrays()))])]
    return safetensors(text[:-1] + f", {json.dumps(name)}: {json.dumps(entry)}}}", body)


def tensor_headers(rng, file):
    """Of a length that is not theirs, nested a million deep, or of a million arrays."""
    text, body = header_and_body(timm_arrays())
    depth = int(10 ** rng.uniform(1, 6))
    empty = '"dtype":"F32","shape":[0],"data_offsets":[0,0]'
    texts = [
        '{"a":' * depth + "1" + "}" * depth,
        '{"__metadata__":' + "[" * depth + "]" * depth + "}",
        "{" + ",".join(f'"x{i}":{{{empty}}}' for i in range(depth // 10)) + "}",
        '{"__metadata__": {"a": 1}, ' + text[1:],
        "{" + " " * depth,
    ]
    if rng.random() < 0.5:
        return safetensors(_one_of(rng, texts), body)
    return safetensors(text, body, EXTREMES[rng.integers(len(EXTREMES))] % 2**64)


# .weights.h5.


def edited(data, edit):
    file = io.BytesIO(data)
    with h5py.File(file, "r+") as contents:
        edit(contents)
    return file.getvalue()


def _with_another_dataset(rng, file, create):
    """A file in which one array was taken away, and `create(file, name, array)` called."""

    def edit(contents):
        names = []
        contents.visit(names.append)
        name = _one_of(rng, [name for name in names if isinstance(contents[name], h5py.Dataset)])
        array = contents[name][()]
        del contents[name]
        create(contents, name, array)

    return edited(file.data, edit)


def h5_shapes(rng, file):
    """Huge or empty shapes, and right ones, of arrays for which nothing was written."""

    def create(contents, name, array):
        shape = list(array.shape)
        if rng.random() < 0.7:
            shape[rng.integers(len(shape))] = int(rng.choice([0, 2**31, 2**40, 2**50]))
        contents.create_dataset(name, shape, "f4", fillvalue=rng.choice([0, 1, np.nan]))

    return _with_another_dataset(rng, file, create)


def h5_chunks(rng, file):
    """Packed arrays, and arrays of a huge shape, or in chunks that are huge by themselves."""
    ways = (
        *(dict(compression="gzip"), dict(compression="lzf", shuffle=True)),
        *(dict(fletcher32=True), dict(scaleoffset=3)),
    )

    def create(contents, name, array):
        if rng.random() < 0.4:
            contents.create_dataset(name, data=array, **_one_of(rng, ways))
            return
        shape = _one_of(rng, [array.shape, (2**32, *array.shape[1:])])
        chunks, unlimited = (2**28, *[1] * (array.ndim - 1)), (None,) * array.ndim
        contents.create_dataset(name, shape, "f4", chunks=chunks, maxshape=unlimited)

    return _with_another_dataset(rng, file, create)


def h5_filters(rng, file):
    """A chunk of a gigabyte of zeros, deflated once or several times."""
    times = int(rng.integers(1, 4))

    def create(contents, name, array):
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((2**28, *[1] * (array.ndim - 1)))
        for _ in range(times):
            properties.set_deflate(9)
        space = h5py.h5s.create_simple(array.shape, (h5py.h5s.UNLIMITED,) * array.ndim)
        kind = h5py.h5t.IEEE_F32LE
        dataset = h5py.h5d.create(contents.id, name.encode(), kind, space, properties)
        data = b"\x78\x9c" + deflated(b"", 2**30) + bytes(4)
        for _ in range(times - 1):
            data = zlib.compress(data)
        dataset.write_direct_chunk((0,) * array.ndim, data)

    return _with_another_dataset(rng, file, create)


def h5_elsewhere(rng, file):
    """Arrays that lie in other files, or are views or links."""

    def create(contents, name, array):
        way, other = rng.integers(6), _one_of(rng, ["/etc/passwd", "/dev/zero", "own.h5"])
        if way == 0:
            contents.create_dataset(name, array.shape, "f4", external=[(other, 0, 2**40)])
        elif way == 1:
            layout = h5py.VirtualLayout(array.shape, "f4")
            layout[...] = h5py.VirtualSource(_one_of(rng, [other, "."]), "vars", array.shape)
            contents.create_virtual_dataset(name, layout)
        elif way == 2:
            contents[name] = h5py.ExternalLink(other, name)
        elif way == 3:
            contents[name] = h5py.SoftLink(_one_of(rng, ["/", f"/{name}", "/vars", "/nowhere"]))
        elif way == 4:
            contents[name] = contents["layers"]  # A circle.
        else:
            contents[name] = contents[f"layers/dense/vars/{int(name.endswith('0'))}"]

    return _with_another_dataset(rng, file, create)


def h5_types(rng, file):
    """Arrays of text, objects, references, records, huge items and other numbers."""
    array_type, opaque = np.dtype(("<f4", (2**28,))), np.dtype("V1000000000")
    types = (
        *(h5py.string_dtype(), h5py.vlen_dtype("f4"), h5py.ref_dtype, h5py.regionref_dtype),
        *(h5py.opaque_dtype(np.dtype("M8[s]")), h5py.enum_dtype({"a": 1}), "S1000000000", "V2"),
        *(np.dtype([("a", "f4")]), np.dtype([("a", array_type)]), opaque, array_type),
        *("i4", "c8", "f2", "f8", ">f4", "?", "longdouble"),
    )

    def create(contents, name, array):
        contents.create_dataset(name, array.shape, _one_of(rng, types))

    return _with_another_dataset(rng, file, create)


def h5_of_many(rng, file):
    """Thousands of groups, one in the other or side by side."""
    count = int(10 ** rng.uniform(2, 4.3))

    def edit(contents):
        group = contents
        for i in range(count):
            new = group.create_group(f"g{i}", track_order=bool(rng.integers(2)))
            group = new if count < 3000 else contents

    return edited(file.data, edit)


def h5_same_names(rng, file):
    """Two arrays, or an array and a link to another file or to this one, of one name."""

    def create(contents, name, array):
        for i in range(int(rng.integers(2, 6))):
            link = h5py.ExternalLink(_one_of(rng, ["file.weights.h5", "/dev/zero"]), name)
            contents[f"{name}~{i}"] = _one_of(rng, [array, link])

    return re.sub(rb"~\d\0", bytes(3), _with_another_dataset(rng, file, create))


def h5_newer(rng, file):
    """A file as newer HDF5 writes them, cut, flipped or overwritten."""
    newer = io.BytesIO()
    with h5py.File(io.BytesIO(file.data)) as old, h5py.File(newer, "w", libver="latest") as new:
        old.copy("layers", new)
    data = newer.getvalue()
    mutation = _one_of(rng, BYTES)
    return mutation(rng, Good(data, np.arange(len(data)), {}))


def h5_names(rng, file):
    def create(contents, name, array):
        nasty = _one_of(rng, [name for name in NASTY_NAMES if name not in ("", "..")])
        contents.create_dataset(nasty.lstrip("/").replace("../", "b"), data=array)

    return _with_another_dataset(rng, file, create)


# .keras.


def with_entry(file, name, change):
    """An archive of which one entry's data, or the whole entry, is `change(data)`."""
    entries = []
    for entry in entries_of(file.data):
        changed = change(entry.data) if entry.name == name else entry
        entries.append(changed if isinstance(changed, Entry) else Entry(entry.name, changed))
    return zipped(entries)


def keras_weights(rng, file):
    """The weights in it are a damaged or hostile HDF5 file, packed in with right checksums."""
    mutation = _one_of(rng, MUTATIONS["weights.h5"])
    return with_entry(file, "model.weights.h5", lambda _: mutation(rng, good("weights.h5")))


def keras_bombs(rng, file):
    """Gigabytes of zeros, or of spaces, as the weights or the config."""
    name = _one_of(rng, ["model.weights.h5", "config.json", "metadata.json"])

    def change(data):
        size = _one_of(rng, [len(data), 2**31, 2**33, 2**60])
        return Entry(name, deflated(data, 2**32), 8, size, zlib.crc32(data))

    return with_entry(file, name, change)


def keras_configs(rng, file):
    """The config has another value somewhere."""
    values = (
        *(None, True, -1, 0, 2**70, 10**4000, 1e300, float("inf"), float("nan")),
        *("", "a\nb", "x" * 10**5, [], {}, [None] * 4, ["1", "2", "3", "4"]),
        *([None, 0, 0, 0], [None, -3, -3, 8], {"x": [[]]}),
        {"module": "os", "class_name": "function", "config": "system", "registered_name": "x"},
    )

    def change(data):
        config = json.loads(data)
        mixing = [x for x in config["config"]["layers"] if x["class_name"] == "TokenMixing"]
        place = mixing[0] if rng.random() < 0.7 else config
        while True:
            keys = list(place) if isinstance(place, dict) else range(len(place))
            key = _one_of(rng, keys)
            inner = isinstance(place[key], dict | list) and place[key]
            if not inner or rng.random() < 0.2:
                place[key] = _one_of(rng, values)
                return json.dumps(config).encode()
            place = place[key]

    return with_entry(file, "config.json", change)


def keras_json(rng, file):
    """The config is nested a million deep, is cut, is no text, or has a million parts."""
    depth = int(10 ** rng.uniform(1, 6))
    texts = [
        b"[" * depth + b"]" * depth,
        b'{"config":' * depth,
        b"[" + b"[]," * depth + b"[]]",
        b'{"config": {"layers": [' + b"{}," * depth + b"{}]}}",
        b"\xff\xfe" + b"x" * depth,
        b'"' + b"\\ud800" * depth + b'"',
        b"1" * depth,
        b"",
    ]
    if rng.random() < 0.7:
        return with_entry(file, "config.json", lambda data: _one_of(rng, texts))
    return with_entry(file, "config.json", lambda data: data[: rng.integers(len(data))])


def zip_duplicates(rng, file):
    entries = entries_of(file.data)
    return zipped([*entries, _one_of(rng, entries)])


# PyTorch's.


def torch_pickles(rng, file):
    """The pickle in it is another one, or cut, or flipped, with right checksums."""

    def change(data):
        part = Good(data, np.arange(len(data)), {})
        hostile = pickle.dumps({"model": Pickled()}, protocol=2)
        return _one_of(rng, [cut, flipped, numbers_in_metadata, lambda *_: hostile])(rng, part)

    return with_entry(file, "archive/data.pkl", change)


def torch_same_names(rng, file):
    """Two tensors of one name in the pickle."""
    names = list(timm_arrays())
    name = _one_of(rng, names)
    other = _one_of(rng, [n for n in names if len(n) == len(name) and n != name] or [name])

    def change(data):
        return data.replace(name.encode(), other.encode())

    if file.data.startswith(b"PK"):
        return with_entry(file, "archive/data.pkl", change)
    return change(file.data)


def torch_contents(rng, file):
    """What PyTorch itself would write: views of huge shapes, other tensors, other things."""
    import torch

    tensors = {name: torch.from_numpy(value) for name, value in timm_arrays().items()}
    name = _one_of(rng, list(tensors))
    shape = tuple(tensors[name].shape)
    huge = (2**20, 2**20) if rng.random() < 0.5 else shape
    values = (
        *(torch.zeros(1).expand(huge), torch.zeros(1, dtype=torch.half).expand(huge)),
        *(torch.zeros(shape).to_sparse(), torch.zeros(shape, dtype=torch.complex64)),
        *(torch.zeros(shape, dtype=torch.int8), torch.nn.Parameter(torch.zeros(shape))),
        torch.quantize_per_tensor(torch.zeros(shape), 0.1, 0, torch.quint8),
        *(torch.empty(shape, device="meta"), torch.zeros(shape, dtype=torch.float8_e4m3fn)),
        *(torch.zeros(shape, requires_grad=True) * 2, torch.zeros(0), None, 3, "x", {}, [], set()),
    )
    key = _one_of(rng, [name, name, name, 3, None, (1, 2), *NASTY_NAMES])
    tensors[key] = _one_of(rng, values)
    contents = _one_of(rng, [tensors, {"model": tensors}, {3: tensors}, [tensors], {"model": 3}])
    data = io.BytesIO()
    legacy = not file.data.startswith(b"PK")
    torch.save(contents, data, _use_new_zipfile_serialization=not legacy)
    return data.getvalue()


def torch_bombs(rng, file):
    """An entry that unpacks to gigabytes."""
    names = [entry.name for entry in entries_of(file.data)]
    name = _one_of(rng, ["archive/data.pkl", "archive/data.pkl", *names])

    def change(data):
        size = _one_of(rng, [len(data), len(data) + 2**32, 2**60])
        return Entry(name, deflated(data, 2**32), 8, size, zlib.crc32(data))

    return with_entry(file, name, change)


def pickles(rng, file):
    """Pickles of PyTorch's older kind, of other things."""
    things = (Pickled(), {"model": Pickled()}, [[]] * 9, {"x": bytearray(9)}, {"model": {"a": "b"}})
    first = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." if rng.random() < 0.5 else b""
    return first + pickle.dumps(_one_of(rng, things), protocol=int(rng.integers(2, 6)))


ZIP = (zip_sizes, zip_of_many)
H5 = (
    *(h5_shapes, h5_chunks, h5_filters, h5_elsewhere, h5_types, h5_of_many, h5_names),
    *(h5_shapes, h5_types, h5_elsewhere, h5_same_names, h5_newer),
)
MUTATIONS = {
    "npz": (
        *(*BYTES, *ZIP, npy_shapes, npy_shapes, npy_types, npy_types, npy_objects, npy_headers),
        *(npy_bombs, npy_packed_otherwise, npz_names, npz_duplicates, npz_pickle),
    ),
    "safetensors": (
        *(*BYTES, tensor_shapes, tensor_shapes, tensor_offsets, tensor_types, tensor_names),
        *(tensor_duplicates, tensor_headers),
    ),
    "weights.h5": (*BYTES, *BYTES, *H5),
    "keras": (
        *(*BYTES, *ZIP, keras_bombs, keras_configs, keras_configs, keras_json, zip_duplicates),
        *[keras_weights] * 9,
    ),
    "pth": (
        *(*BYTES, *ZIP, torch_bombs, zip_duplicates),
        *(torch_contents, torch_contents, torch_same_names),
        *(torch_pickles, torch_pickles, torch_pickles),
    ),
    "legacy pth": (*BYTES, torch_contents, torch_contents, torch_same_names, pickles),
}


def write(kind, number, path):
    """Writes the file of that number, and returns the name of its mutation."""
    rng = np.random.default_rng([list(MUTATIONS).index(kind), number])
    mutation = MUTATIONS[kind][number % len(MUTATIONS[kind])]
    path.write_bytes(mutation(rng, good(kind)))
    return mutation.__name__
