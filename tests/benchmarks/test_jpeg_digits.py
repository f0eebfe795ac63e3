import hashlib
import io
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import jpeg_digits

pytestmark = pytest.mark.tensorflow

ROOT = pathlib.Path(__file__).resolve().parents[2]
COUNTS = {"train": 20, "validation": 10}
CLASSES = ["eight", "five", "four", "nine", "one", "seven", "six", "three", "two", "zero"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A small data set in all formats, and its contact sheet, written by the command."""
    folder = tmp_path_factory.mktemp("jpeg_digits")
    arguments = ["--train", "20", "--validation", "10", "--contact-sheet", str(folder / "s.png")]
    assert jpeg_digits.main([str(folder / "out"), *arguments]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["out", "s.png"]
    return folder / "out"


def expected(written, split):
    """Returns the class of every file of a split, by the file's bytes."""
    files = sorted((written / "folder" / split).glob("*/*.jpg"))
    assert len(files) == COUNTS[split]
    return {path.read_bytes(): path.parent.name for path in files}


def read(path):
    """Returns the pixels of an image."""
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image)


def refuse(arguments, capsys):
    """Runs the command on what it must refuse; returns the sentence."""
    with pytest.raises(SystemExit) as end:
        jpeg_digits.main([str(argument) for argument in arguments])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error.strip().splitlines()[-1]


@pytest.mark.parametrize("split", COUNTS)
def test_images(written, split):
    from PIL import Image

    names = {path.name: path.parent.name for path in (written / "folder" / split).glob("*/*.jpg")}
    assert names == {f"{n:05d}.jpg": jpeg_digits.NAMES[n % 10] for n in range(COUNTS[split])}
    files = expected(written, split)
    assert len(files) == COUNTS[split]  # All differ.
    for content in files:
        image = Image.open(io.BytesIO(content))
        assert (image.format, image.mode) == ("JPEG", "RGB")
        assert image.size in jpeg_digits.SIZES
        assert 5_000 < len(content) < 80_000
        light = np.asarray(image).max(axis=-1) > 200  # Photographs are at most 0.7 * 255.
        assert 0.03 < light.mean() < 0.4
        assert light[1:-1, 1:-1].sum() > 0.99 * light.sum()


def test_splits_do_not_repeat_each_other(written):
    train, validation = (
        [read(path).shape for path in jpeg_digits.files_of(written / "folder", split)[:10]]
        for split in COUNTS
    )
    assert train != validation


def test_every_class_shows_its_own_digit_of_its_own_split(tmp_path, monkeypatch):
    from PIL import Image

    def only_the_digit(digit, *_):
        return Image.fromarray((255 * digit).astype("uint8"))

    monkeypatch.setattr(jpeg_digits, "draw", only_the_digit)
    jpeg_digits.write_folder(tmp_path, COUNTS, seed=0)
    digits = jpeg_digits.digits()
    for split, count in COUNTS.items():
        known = [
            (255 * image, name)
            for images, name in zip(digits[split], jpeg_digits.NAMES, strict=True)
            for image in images
        ]
        files = jpeg_digits.files_of(tmp_path, split)
        assert len(files) == count
        for path in files:
            got = read(path)
            distance, name = min((np.abs(got - image).mean(), name) for image, name in known)
            assert name == path.parent.name
            assert distance < 6  # What JPEG loses.


@pytest.mark.parametrize("split", COUNTS)
def test_shards_hold_the_same_files(written, split):
    import tensorflow as tf

    assert (written / "shards" / "classes.txt").read_text().splitlines() == CLASSES
    paths = sorted(map(str, (written / "shards").glob(f"{split}-*-of-00004.tfrecord")))
    assert len(paths) == 4
    got = {}
    for raw in tf.data.TFRecordDataset(paths).as_numpy_iterator():
        feature = tf.train.Example.FromString(raw).features.feature
        label = feature["label"].int64_list.value[0]
        got[feature["image"].bytes_list.value[0]] = CLASSES[label]
    assert got == expected(written, split)


@pytest.mark.parametrize("split", COUNTS)
@pytest.mark.parametrize("by_directory", [False, True])
def test_tfds_holds_the_same_files(written, split, by_directory):
    import tensorflow_datasets as tfds

    if by_directory:
        builder = tfds.builder_from_directory(written / "tfds" / "jpeg_digits" / "1.0.0")
    else:
        builder = tfds.builder("jpeg_digits", data_dir=written / "tfds")
    assert builder.info.features["label"].names == CLASSES
    assert builder.info.splits[split].num_examples == COUNTS[split]
    assert builder.info.splits[split].num_shards > 1
    raw = builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()})
    got = {line["image"]: CLASSES[line["label"]] for line in raw.as_numpy_iterator()}
    assert got == expected(written, split)
    for line in builder.as_dataset(split=split).as_numpy_iterator():
        assert line["image"].dtype == np.uint8
        assert line["image"].shape[1::-1] in jpeg_digits.SIZES


def test_contact_sheet(written):
    sheet = read(written.parent / "s.png")
    rows = sheet.reshape(4, -1, *sheet.shape[1:]).std(axis=(1, 2, 3))
    assert (rows[:2] > 0).all()  # Twenty images are two rows of ten.
    assert (rows[2:] == 0).all()


def hashes(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_seed_gives_always_the_same(written, tmp_path):
    jpeg_digits.write(tmp_path / "same", COUNTS)
    assert hashes(tmp_path / "same") == hashes(written)
    jpeg_digits.write(tmp_path / "other", COUNTS, seed=1, formats=("folder",))
    other = hashes(tmp_path / "other")
    assert other.keys() < hashes(written).keys()
    assert not set(other.values()) & set(hashes(written).values())


def test_formats(tmp_path):
    jpeg_digits.write(tmp_path / "out", {"train": 10, "validation": 10}, formats=("shards",))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["shards"]


def test_no_digit_is_in_both_splits():
    import sklearn.datasets

    splits = jpeg_digits.digits()
    seen = {
        split: {image.tobytes() for images in of_class for image in images}
        for split, of_class in splits.items()
    }
    assert not seen["train"] & seen["validation"]
    assert sum(len(images) for split in splits.values() for images in split) == 1797
    bunch = sklearn.datasets.load_digits()
    labels = {
        (image / 16).tobytes(): label
        for image, label in zip(bunch.images, bunch.target, strict=True)
    }
    for of_class in splits.values():
        for digit, images in enumerate(of_class):
            assert {labels[image.tobytes()] for image in images} == {digit}


def test_a_run_cut_short_leaves_no_final_name(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    out = tmp_path / "out"
    monkeypatch.setattr(jpeg_digits, "write_tfds", killed)
    with pytest.raises(Killed):
        jpeg_digits.write(out, COUNTS)
    assert [path.name for path in tmp_path.iterdir()] == ["out.incomplete"]
    monkeypatch.undo()
    jpeg_digits.write(out, {"train": 10, "validation": 10}, formats=("folder",))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert len(list((out / "folder").rglob("*.jpg"))) == 20  # None of the earlier run's.


def test_refused_arguments(tmp_path, capsys):
    out, file = tmp_path / "out", tmp_path / "file"
    file.write_text("")
    for arguments, sentence in (
        ((tmp_path,), f"argument out: must not exist yet: .* Received: {tmp_path}"),
        ((out, "--train", 9), "argument --train: must be from 10 to 100000. Received: 9"),
        ((out, "--validation", 100_001), "argument --validation: .* Received: 100001"),
        ((out, "--seed", -1), "argument --seed: must be at least 0. Received: -1"),
        ((out, "--formats", "zip"), "argument --formats: invalid choice: 'zip'"),
        ((out, "--contact-sheet", "a.jpg"), "--contact-sheet: must end with .png. Received: a.jpg"),
        ((file / "out",), "argument out: must be a folder that can be written. Received: "),
    ):
        assert re.search(sentence, refuse(arguments, capsys))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_help_needs_no_tensorflow(tmp_path):
    for module in ("tensorflow", "keras"):
        (tmp_path / f"{module}.py").write_text("raise AssertionError")
    result = subprocess.run(
        [sys.executable, "benchmarks/jpeg_digits.py", "--help"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "python benchmarks/jpeg_digits.py runs/jpeg_digits" in result.stdout
