"""Files that were damaged, or made to do harm, are refused cleanly; 2,000 of each format."""

import bz2
import collections
import io
import json
import math
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from keras_mixers import weights as weight_files
from tests.weights import foreign, hostile, hostile_reading
from tests.weights.hostile import Entry, deflated, npy, zipped
from tests.weights.test_foreign_files import MIXER, build_mixer, write
from tests.weights.test_loading import assert_refused

ROOT = Path(__file__).resolve().parents[2]
NUMBER = 2000
MEGABYTE = 2**20
NEEDS = {"safetensors": "safetensors", "pth": "torch", "legacy pth": "torch"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", hostile.MUTATIONS)
def test_hostile_files_end_cleanly(kind, tmp_path):
    """They are loaded or refused in 2 s of computing and 300 MB; nothing else happens."""
    if kind in NEEDS:
        pytest.importorskip(NEEDS[kind])
    results = _read_all(kind, tmp_path)
    counts = collections.Counter((result["mutation"], result["end"]) for result in results)
    print(f"\n{kind:32} loaded refused faults")
    for mutation in sorted({result["mutation"] for result in results}):
        loaded, refused, faults = (counts[mutation, how] for how in ("loaded", "refused", "fault"))
        print(f"  {mutation:30} {loaded:6} {refused:7} {faults:6}")
    ends = collections.Counter(result["end"] for result in results)
    slowest = max(result.get("seconds", 0) for result in results)
    largest = max(result.get("megabytes", 0) for result in results)
    print(f"  {'all':30} {ends['loaded']:6} {ends['refused']:7} {ends['fault']:6}", end="")
    print(f"   at most {slowest} s and {largest} MB")
    faults = [result for result in results if result["end"] == "fault"]
    assert not faults, json.dumps(faults[:9], indent=1)
    assert largest < hostile_reading.MEGABYTES
    assert [result["number"] for result in results] == list(range(NUMBER))
    assert ends["loaded"] > 0


def _read_all(kind, folder):
    """Returns `[{number, mutation, end, why, ...}]` of the files of a kind, whatever ends a reader.

    A reader is a process; where it dies, the next one goes on behind the file that it died of.
    """
    results, first = [], 0
    while first < NUMBER:
        lines, status = _read(kind, folder, first)
        if not lines:
            raise RuntimeError((Path(folder) / "printed").read_text()[-3000:])
        died = {"end": "fault", "why": f"the reader ended with {status}"}
        for begun, done in zip(lines[::2], [*lines[1::2], died], strict=False):
            results.append(begun | done)
        first = results[-1]["number"] + 1
    return results


def _read(kind, folder, first):
    module = ("-m", hostile_reading.__name__)
    with open(Path(folder) / "printed", "w") as printed:
        run = subprocess.run(
            [sys.executable, *module, kind, str(first), str(NUMBER), str(folder)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=printed,
            text=True,
        )
    return [json.loads(line) for line in run.stdout.splitlines()], run.returncode


# One by one, what the mutations above meet.


def refused(path, match):
    """The file is refused, the model left as it was, and no more than 20 MB taken for it."""
    model = build_mixer()
    tracemalloc.start()
    assert_refused(model, path, match)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * MEGABYTE


def npz_with(path, change):
    """Writes an .npz of which the entries of one array are `change(array)`."""
    arrays = foreign.random_arrays(foreign.google_shapes(**MIXER), np.random.default_rng(0))
    array = arrays.pop("stem/bias")
    path.write_bytes(zipped([*hostile.npz_entries(arrays), *change(array)]))
    return path


def keras_with(path, name, change):
    """Writes a .keras file of which the entry of that name is `change(data)`."""
    path.write_bytes(hostile.with_entry(hostile.good("keras"), name, change))
    return path


def h5_with(path, edit):
    """Writes a .weights.h5 after `edit(contents)`."""
    path.write_bytes(hostile.edited(hostile.good("weights.h5").data, edit))
    return path


def test_an_npz_with_all_that_numpy_may_write_is_loaded(tmp_path):
    """So that what follows is refused for what is said there."""

    def change(array):
        data = npy(array.shape, body=array.tobytes())
        return [Entry("stem/bias.npy", deflated(data, 0), 8, len(data), zlib.crc32(data))]

    path = npz_with(tmp_path / "file.npz", change)
    weight_files.load(build_mixer(), path)


def test_a_zip_of_too_many_entries_is_refused(tmp_path):
    many = [Entry(f"{i:0200}.npy", npy((0,))) for i in range(5000)]
    path = npz_with(tmp_path / "file.npz", lambda a: many)
    refused(path, "it has too many arrays, or their names are too long")


def test_weights_that_look_like_the_end_of_a_zip_are_loaded(tmp_path):
    """Four bytes in a row that are rare, but no more than any others."""
    pytest.importorskip("safetensors")
    arrays = hostile.timm_arrays()
    arrays["norm.weight"][0] = np.frombuffer(b"PK\5\6", "float32")[0]
    weight_files.load(build_mixer(), write(tmp_path / "file.safetensors", arrays))


def test_a_zip_behind_something_else_is_refused(tmp_path):
    path = tmp_path / "file.npz"
    path.write_bytes(b"PK\3\4" + hostile.good("npz").data)
    refused(path, "it is an archive behind something else")


def test_two_names_of_one_array_are_refused(tmp_path):
    def twice(array):
        return [Entry(name, npy(array.shape)) for name in ("stem/bias", "stem/bias.npy")]

    refused(npz_with(tmp_path / "file.npz", twice), "two of its arrays have the same name")


@pytest.mark.parametrize("length", [2**16, 2**28])
def test_the_header_of_an_array_may_not_be_long(length, tmp_path):
    def change(array):
        data = npy(array.shape, version=2, length=length)
        return [Entry("stem/bias.npy", deflated(data, 2**28), 8, 2**29)]

    refused(npz_with(tmp_path / "file.npz", change), "it cannot be read: EOF: reading array header")


@pytest.mark.parametrize("descr", ["'|V50000000'", "'|S50000000'", "('<f4', (9999999,))"])
def test_items_of_megabytes_are_not_read(descr, tmp_path):
    def change(array):
        return [Entry("stem/bias.npy", deflated(npy(array.shape, descr), 2**29), 8, 2**30)]

    refused(npz_with(tmp_path / "file.npz", change), "'stem/bias' .*not floating-point numbers")


def test_an_array_that_unpacks_to_more_than_its_shape_is_not_read(tmp_path):
    def change(array):
        data = npy(array.shape, body=array.tobytes())
        return [Entry("stem/bias.npy", deflated(data, 2**28), 8, 2**29)]

    refused(npz_with(tmp_path / "file.npz", change), "it is longer than its shape says")


def test_only_packings_of_numpy_are_unpacked(tmp_path):
    """A few hundred bytes of bzip2 are 45 MB at once."""
    bomb = Entry("stem/bias.npy", bz2.compress(bytes(45 * 10**6)), 12, 2**30)
    refused(npz_with(tmp_path / "file.npz", lambda a: [bomb]), "is packed, as NumPy never does")


@pytest.mark.parametrize("shape", [(-8,), (8, -1), (1,) * 9, "('8',)", "(8.0,)"])
def test_shapes_of_no_array_are_refused(shape, tmp_path):
    path = npz_with(tmp_path / "file.npz", lambda a: [Entry("stem/bias.npy", npy(shape))])
    refused(path, "a shape of no weight" if isinstance(shape, tuple) else "shape is not valid")


def test_more_numbers_than_fit_are_refused(tmp_path):
    entries = [Entry(f"{i}.npy", npy((2**29, 1))) for i in range(3)]
    path = npz_with(tmp_path / "file.npz", lambda a: entries)
    refused(path, "its arrays have more numbers than it can hold")


def test_more_numbers_than_bytes_may_be_packed(tmp_path):
    """Zeros are, for trials."""
    arrays = {k: np.zeros(v, "float32") for k, v in foreign.google_shapes(**MIXER).items()}
    arrays["head/kernel"], arrays["head/bias"] = np.zeros((8, 5000)), np.zeros(5000)
    np.savez_compressed(tmp_path / "file.npz", **arrays)
    assert (tmp_path / "file.npz").stat().st_size < 40_000
    assert not np.any(build_mixer(weights=tmp_path / "file.npz").get_layer("stem").weights[0])


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "a" * 301])
@pytest.mark.parametrize("suffix", [".npz", ".keras", ".safetensors", ".weights.h5"])
def test_names_that_do_not_fit_a_line_are_refused(suffix, name, tmp_path):
    path = tmp_path / f"file{suffix}"
    if suffix == ".weights.h5":
        h5_with(path, lambda contents: contents.create_group(name))
    elif suffix == ".keras":
        path.write_bytes(
            zipped([*hostile.entries_of(hostile.good("keras").data), Entry(name, b"")])
        )
    else:
        arrays = hostile.google_arrays() if suffix == ".npz" else hostile.timm_arrays()
        write(path, arrays | {name: np.zeros(3, "float32")})
    refused(path, "one of its arrays has no readable name")


def test_names_that_are_no_text_are_refused(tmp_path):
    path = h5_with(tmp_path / "file.weights.h5", lambda contents: contents.create_group(b"\xff"))
    refused(path, "one of its arrays has no readable name")


def test_what_readers_print_is_one_short_printable_line(tmp_path):
    pytest.importorskip("safetensors")
    text, body = hostile.header_and_body(hostile.timm_arrays())
    path = tmp_path / "file.safetensors"
    path.write_bytes(hostile.safetensors(text.replace("F32", "F32\\u001b[2J" * 1000), body))
    with pytest.raises(ValueError, match=r"it cannot be read: .*F32\?\[2J") as raised:
        weight_files.describe(path)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
@pytest.mark.parametrize("says", ["unpacked", "packed"])
def test_packed_parts_of_a_keras_file_are_not_unpacked(says, name, tmp_path):
    """Whichever of the two sizes the archive says of them."""

    def change(data):
        packed = deflated(data, 2**28)
        size = {"unpacked": len(data), "packed": len(packed)}[says]
        return Entry(name, packed, 8, size, zlib.crc32(data))

    path = keras_with(tmp_path / "file.keras", name, change)
    refused(path, rf"'{name}' in it is packed, as Keras and PyTorch never do")


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_two_parts_of_one_name_are_refused(name, tmp_path):
    entries = hostile.entries_of(hostile.good("keras").data)
    path = tmp_path / "file.keras"
    path.write_bytes(zipped([*entries, *(entry for entry in entries if entry.name == name)]))
    refused(path, "two of its arrays have the same name")


def test_a_config_of_megabytes_is_not_read(tmp_path):
    path = keras_with(tmp_path / "file.keras", "config.json", lambda data: b"[" + b"[]," * MEGABYTE)
    refused(path, r"its config\.json is too long")


def test_a_config_nested_without_end_is_refused(tmp_path):
    path = keras_with(tmp_path / "file.keras", "config.json", lambda data: b"[" * 10**5)
    refused(path, "it cannot be read: maximum recursion depth")


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("grid", [None, math.inf, 3, 8]),
        ("grid", [None, 10**4000, 3, 8]),
        ("grid", [None, -3, -3, 8]),
        ("grid", [None, 9, 8]),
        ("activation", ["gelu"]),
        ("activation", None),
    ],
)
def test_a_config_of_no_model_is_refused(part, value, tmp_path):
    def change(data):
        config = json.loads(data)
        for layer in config["config"]["layers"]:
            if layer["class_name"] == "TokenMixing":
                place = {"grid": ("build_config", "input_shape"), "activation": ("config", part)}
                layer[place[part][0]][place[part][1]] = value
        return json.dumps(config).encode()

    path = keras_with(tmp_path / "file.keras", "config.json", change)
    refused(path, r"its config\.json describes no model")


def test_an_activation_that_is_a_book_is_not_printed_as_a_whole(tmp_path, caplog):
    def change(data):
        return data.replace(b'"gelu_tanh"', b'"' + b"x" * 10_000 + b'"')

    path = keras_with(tmp_path / "file.keras", "config.json", change)
    weight_files.load(build_mixer(), path)
    assert "their source computes with activation='xxxx" in caplog.text
    assert len(caplog.text) < 1000


def test_an_hdf5_file_of_too_many_groups_is_refused(tmp_path):
    def edit(contents):
        for i in range(5000):
            contents.create_group(f"layers/x{i}")

    refused(h5_with(tmp_path / "file.weights.h5", edit), "it has more than 5000 groups and arrays")


def test_an_hdf5_file_nested_without_end_is_refused(tmp_path):
    path = h5_with(tmp_path / "file.weights.h5", lambda file: file.create_group("x/" * 900))
    refused(path, "one of its arrays has no readable name")


def test_hdf5_arrays_that_keras_never_writes_are_not_read(tmp_path):
    """Packed ones, those of other files, those never written, and those of huge items."""
    other = tmp_path / "other"
    other.write_bytes(bytes(4096))
    layout = h5py.VirtualLayout((8,), "f4")
    layout[...] = h5py.VirtualSource(str(other), "x", (8,))
    name = "layers/layer_normalization/vars/0"
    ways = {
        "packed": lambda file: file.create_dataset(name, data=np.ones(8, "f4"), compression="gzip"),
        "elsewhere": lambda file: file.create_dataset(name, (8,), "f4", external=str(other)),
        "a view": lambda file: file.create_virtual_dataset(name, layout),
        "never written": lambda file: file.create_dataset(name, (8,), "f4"),
    }
    for way, create in ways.items():

        def edit(contents, create=create):
            del contents[name]
            create(contents)

        path = h5_with(tmp_path / f"{way}.weights.h5", edit)
        refused(path, f"'{name}' cannot be read: it does not lie in one piece")


@pytest.mark.parametrize("kind", ["V50000000", h5py.string_dtype(), np.dtype(("f4", (10**7,)))])
def test_hdf5_arrays_of_other_items_are_not_read(kind, tmp_path):
    name = "layers/layer_normalization/vars/0"

    def edit(contents):
        del contents[name]
        contents.create_dataset(name, (8,), kind)

    path = h5_with(tmp_path / "file.weights.h5", edit)
    refused(path, "not floating-point numbers|has of another shape")


def test_links_to_other_files_are_not_followed(tmp_path):
    """Even where one has the name of an array, before which HDF5 finds it."""
    path = tmp_path / "file.weights.h5"
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.full(8, 9, "float32")

    def edit(contents):
        group = contents["layers/dense/vars"]
        for i in "abd":
            group[f"same_{i}"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "secret")
        group["same_c"] = np.ones(8, "float32")

    data = h5_with(path, edit).read_bytes()
    for i in (b"b", b"c", b"d"):
        data = data.replace(b"same_" + i, b"same_a")
    path.write_bytes(data)
    with h5py.File(path) as contents:
        assert contents["layers/dense/vars/same_a"][0] == 9
    refused(path, "its array 'layers/dense/vars/same_a' lies elsewhere")


def test_two_hdf5_arrays_of_one_name_are_refused(tmp_path):
    path = tmp_path / "file.weights.h5"

    def edit(contents):
        for i in "ab":
            contents[f"layers/dense/vars/same_{i}"] = np.ones(8, "float32")

    path.write_bytes(h5_with(path, edit).read_bytes().replace(b"same_b", b"same_a"))
    refused(path, "two of its arrays have the same name")


def test_a_kernel_without_axes_is_refused(tmp_path):
    name = "layers/token_mixing/fc1/vars/0"

    def edit(contents):
        del contents[name]
        contents[name] = np.float32(3)

    path = h5_with(tmp_path / "file.weights.h5", edit)
    assert weight_files.describe(path).tokens is None
    refused(path, f"it has of another shape {name}")


def test_two_tensors_of_one_name_are_refused(tmp_path):
    pytest.importorskip("safetensors")
    text, body = hostile.header_and_body(hostile.timm_arrays())
    again = json.dumps(json.loads(text)["norm.weight"])
    path = tmp_path / "file.safetensors"
    path.write_bytes(hostile.safetensors(f'{text[:-1]}, "norm.weight": {again}}}', body))
    refused(path, "two of its arrays have the same name")


def test_a_long_header_of_tensors_is_not_read(tmp_path):
    pytest.importorskip("safetensors")
    text, body = hostile.header_and_body(hostile.timm_arrays())
    path = tmp_path / "file.safetensors"
    path.write_bytes(hostile.safetensors(text + " " * 10**6, body))
    refused(path, "it has too many arrays, or their names are too long")


def test_tensors_of_huge_shapes_are_not_read(tmp_path):
    """A view repeats its numbers, which PyTorch stores once."""
    torch = pytest.importorskip("torch")
    path = tmp_path / "file.pth"
    torch.save(_tensors({"norm.weight": torch.zeros(1).half().expand(2**20, 2**20)}), path)
    refused(path, "its arrays have more numbers than it can hold")


def test_tensors_without_readable_names_are_refused(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(_tensors({3: torch.zeros(3)}), tmp_path / "file.pth")
    refused(tmp_path / "file.pth", "one of its arrays has no readable name")


def test_names_of_sets_are_told_in_a_line(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"a\nb\x1b[2J": {}, 3: {}}, tmp_path / "file.pth")
    with pytest.raises(ValueError, match=r"it has no entry 'ema', but a b\?\[2J, 3") as raised:
        weight_files.describe(tmp_path / "file.pth", entry="ema")
    assert str(raised.value).isprintable()


def test_tensors_of_anything_but_real_numbers_are_refused(tmp_path):
    torch = pytest.importorskip("torch")
    for kind in (torch.int8, torch.complex64):
        torch.save(_tensors({"norm.weight": torch.ones(8, dtype=kind)}), tmp_path / "file.pth")
        refused(tmp_path / "file.pth", "'norm.weight' .*not floating-point numbers")


@pytest.mark.parametrize("packed", [True, False])
def test_packed_parts_of_a_pytorch_file_are_not_unpacked(packed, tmp_path):
    """Nor those that only say so, for which PyTorch takes the memory."""
    pytest.importorskip("torch")

    def change(data):
        if packed:
            return Entry("archive/data.pkl", deflated(data, 2**28), 8, len(data) + 2**28)
        return Entry("archive/data.pkl", data, size=2**32 - 1)

    path = tmp_path / "file.pth"
    path.write_bytes(hostile.with_entry(hostile.good("pth"), "archive/data.pkl", change))
    refused(path, "'archive/data.pkl' in it is packed, as Keras and PyTorch never do")


def test_a_piece_of_a_pickle_is_no_longer_than_the_file(tmp_path):
    """Of one that claims a text of 2 GB, no more is asked for than there is."""
    torch = pytest.importorskip("torch")
    data = io.BytesIO()
    torch.save(_tensors({}), data, _use_new_zipfile_serialization=False)
    name = b"X" + struct.pack("<I", 11) + b"norm.weight"
    assert data.getvalue().count(name) == 1
    path = tmp_path / "file.pth"
    path.write_bytes(data.getvalue().replace(name, b"X" + struct.pack("<I", 2**31) + name[5:]))
    refused(path, "it cannot be read")


def _tensors(changed):
    import torch

    return {k: torch.from_numpy(v) for k, v in hostile.timm_arrays().items()} | changed
