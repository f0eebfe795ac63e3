import os
import struct

import numpy as np
import pytest
import tensorflow as tf

from keras_mixers.commands import make_shards
from keras_mixers.data import records, sources
from keras_mixers.data.sources import open_source
from keras_mixers.errors import UsageError
from tests.helpers import image_files, prepared_sets

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return image_files.write_folder(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def shards(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("shards") / "out"
    assert make_shards.main([str(folder), str(out), "--shards", "3"]) == 0
    return out


@pytest.fixture(scope="module")
def prepared(folder, tmp_path_factory):
    """A set that tensorflow-datasets has prepared, with other keys than the usual ones."""
    import tensorflow_datasets as tfds

    out = tmp_path_factory.mktemp("tfds")
    files = sorted((folder / "train").rglob("*.jpg"))
    features = {
        "photo": tfds.features.Image(encoding_format="jpeg"),
        "kind": tfds.features.ClassLabel(names=image_files.CLASSES),
        "file": tfds.features.Text(),
    }
    examples = [{"photo": str(f), "kind": f.parent.name, "file": f.name} for f in files]
    prepared_sets.write(out, "animals", features, examples)
    return out


def contents(source):
    """Sorted pairs of class name and bytes, read in a pipeline as training does."""
    read = tf.data.Dataset.range(len(source)).map(source.read)
    pairs = [(source.classes[int(label)], data.numpy()) for data, label in read]
    return sorted(pairs)


def of_folder(folder, split="train"):
    return sorted((f.parent.name, f.read_bytes()) for f in (folder / split).rglob("*.jpg"))


def test_folder(folder):
    source = open_source(str(folder), "", "train")
    assert source.classes == image_files.CLASSES
    assert len(source) == 24
    assert contents(source) == of_folder(folder)
    for index in range(24):
        data = source.read(tf.constant(index, tf.int64))[0].numpy()
        with open(source.name(index), "rb") as file:
            assert file.read() == data


def test_hidden_folders_are_no_classes_and_hidden_files_no_images(tmp_path):
    folder = image_files.write_folder(tmp_path)
    (folder / "train" / ".thumbnails").mkdir()
    for name in (".thumbnails/0.jpg", "ant/.0.jpg"):
        (folder / "train" / name).write_bytes(b"")
    source = open_source(str(folder), "", "train")
    assert source.classes == image_files.CLASSES
    assert len(source) == 24


def test_an_image_is_one_by_its_name_or_its_first_bytes_as_in_shards(tmp_path):
    folder = image_files.write_folder(tmp_path / "folder")
    bees = folder / "train" / "bee"
    (bees / "0.jpg").rename(bees / "0")
    (bees / "1.jpg").rename(bees / "1.JPEG")
    (bees / "notes.txt").write_text("no image")
    (bees / ".more").mkdir()
    (bees / "2.jpg").rename(bees / ".more" / "2.jpg")
    of_bees = {name for name in names(folder) if "/bee/" in name}
    assert of_bees == {
        f"{bees}/{name}" for name in ("0", "1.JPEG", *map("{}.jpg".format, range(3, 8)))
    }
    make_shards.main([str(folder), str(tmp_path / "shards")])
    assert contents(open_source(str(tmp_path / "shards"), "", "train")) == contents(
        open_source(str(folder), "", "train")
    )


def test_what_is_named_as_an_image_is_one_though_it_cannot_be_read(tmp_path):
    folder = image_files.write_folder(tmp_path)
    before = names(folder)
    (folder / "train" / "bee" / "3.jpg").write_bytes(b"")
    assert names(folder) == before


def names(folder):
    source = open_source(str(folder), "", "train")
    return [source.name(index) for index in range(len(source))]


def test_a_name_that_is_not_utf8_is_one_sentence(tmp_path):
    folder = image_files.write_folder(tmp_path)
    os.rename(folder / "train" / "ant" / "0.jpg", os.fsencode(folder / "train/ant/") + b"/\xff.jpg")
    with pytest.raises(UsageError, match=r"names in UTF-8 only: rename .*xff"):
        open_source(str(folder), "", "train")


def test_a_line_of_classes_ends_where_the_line_ends(shards, tmp_path):
    for path in shards.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for text in ("an\x85t\nbee\ncow\n", "an\x85t\r\nbee\r\ncow"):
        (tmp_path / "classes.txt").write_bytes(text.encode())
        assert open_source(str(tmp_path), "", "train").classes == ("an\x85t", "bee", "cow")


def test_shards_hold_the_same(folder, shards):
    for split in ("train", "validation"):
        source = open_source(str(shards), "", split)
        assert source.classes == image_files.CLASSES
        assert contents(source) == of_folder(folder, split)


def test_every_record_is_found_by_its_index(shards):
    source = open_source(str(shards), "", "train")
    raw = tf.data.TFRecordDataset([str(p) for p in sorted(shards.glob("train-*"))])
    spec = {"image": tf.io.FixedLenFeature((), tf.string)}
    expected = [tf.io.parse_single_example(r, spec)["image"].numpy() for r in raw]
    order = np.random.default_rng(0).permutation(len(source))
    for index in order:
        assert source.read(tf.constant(index, tf.int64))[0].numpy() == expected[index]
    assert source.name(23).startswith(str(shards / "train-00002-of-00003.tfrecord"))


def test_prepared_by_tensorflow_datasets(folder, prepared):
    by_name = open_source("animals", str(prepared), "train")
    by_folder = open_source(str(prepared / "animals" / "1.0.0"), "", "train")
    for source in (by_name, by_folder):
        assert source.classes == image_files.CLASSES
        assert contents(source) == of_folder(folder)


@pytest.mark.parametrize(
    ("split", "count"),
    [("train[:25%]", 6), ("train[25%:]", 18), ("train[20:]", 4), ("train[3:5]", 2)],
)
def test_parts_of_a_split(folder, shards, split, count):
    for data in (folder, shards):
        assert len(open_source(str(data), "", split)) == count


def test_parts_of_a_folder_have_all_classes_and_do_not_overlap(folder):
    first, rest = (open_source(str(folder), "", s) for s in ("train[:75%]", "train[75%:]"))
    assert set(first.labels) == {0, 1, 2}
    assert not {*first.paths} & {*rest.paths}
    assert len(first) + len(rest) == 24


def test_val_is_validation(folder, tmp_path):
    copy = image_files.write_folder(tmp_path)
    (copy / "validation").rename(copy / "val")
    assert len(open_source(str(copy), "", "validation")) == 12


@pytest.mark.parametrize(
    ("split", "sentence"),
    [
        ("train[", "written as train or train"),
        ("test", "must hold a folder test: .* Received a folder with: train, validation"),
        ("train[5:5]", "must hold an image; of 24, "),
        ("train[:200%]", "must hold an image"),
    ],
)
def test_bad_splits(folder, split, sentence):
    with pytest.raises(UsageError, match=sentence.replace("[", r"\[")):
        open_source(str(folder), "", split)


def test_a_split_that_a_prepared_set_lacks(prepared):
    with pytest.raises(UsageError, match=r"animals has no split validation; .* train"):
        open_source("animals", str(prepared), "validation")


def test_a_name_that_is_not_prepared(prepared):
    for name in ("imagenet2012", "no_such_set", "/no/such/folder"):
        with pytest.raises(UsageError, match=f"No data: .* Received: {name}"):
            open_source(name, str(prepared), "train")


def test_parts_of_a_folder_without_validation_have_their_share_of_each_class(tmp_path):
    for folder in (tmp_path / "alone", tmp_path / "split" / "train"):
        for name, count in {"ant": 10, "bee": 5, "cow": 20}.items():
            (folder / name).mkdir(parents=True)
            for i in range(count):
                (folder / name / f"{i}.jpg").write_bytes(b"")
    for data in (tmp_path / "alone", tmp_path / "split"):
        assert sources.lacks_validation(str(data))
        rest = open_source(str(data), "", "train[80%:]")
        assert np.bincount(rest.labels).tolist() == [2, 1, 4]
        first = open_source(str(data), "", "train[:80%]")
        assert not set(first.paths) & set(rest.paths)
        assert np.abs(np.diff(first.labels)).sum() > 7  # Shuffled.
    (tmp_path / "split" / "val" / "bee").mkdir(parents=True)
    assert not sources.lacks_validation(str(tmp_path / "split"))


def test_empty_and_strange_folders(tmp_path):
    with pytest.raises(UsageError, match=r"must hold a folder of images per class.* no folder"):
        open_source(str(tmp_path), "", "train")
    (tmp_path / "train").mkdir()
    with pytest.raises(UsageError, match=r"a folder of images per class in each split"):
        open_source(str(tmp_path), "", "train")
    folder = image_files.write_folder(tmp_path / "a")
    (folder / "train" / "dog").mkdir()
    with pytest.raises(UsageError, match=r"must have an image; .*: dog"):
        open_source(str(folder), "", "train")
    (folder / "train" / "dog").rmdir()
    (folder / "validation" / "fox").mkdir()
    with pytest.raises(UsageError, match=r"classes of .* only; .* there too: fox"):
        open_source(str(folder), "", "validation")


def test_shards_that_are_not_whole(folder, tmp_path):
    assert make_shards.main([str(folder), str(tmp_path / "s"), "--shards", "2"]) == 0
    last = tmp_path / "s" / "train-00001-of-00002.tfrecord"
    whole = last.read_bytes()
    last.write_bytes(whole[:-7])
    with pytest.raises(UsageError, match=r"train-00001.* is not a whole TFRecord file"):
        open_source(str(tmp_path / "s"), "", "train")
    last.write_bytes(whole + struct.pack("<Q", 2**60) + b"1234")
    with pytest.raises(UsageError, match=r"is not a whole TFRecord file"):
        open_source(str(tmp_path / "s"), "", "train")
    last.unlink()
    with pytest.raises(UsageError, match=r"must hold all 2 shards of train; it has 1"):
        open_source(str(tmp_path / "s"), "", "train")
    last.write_bytes(whole)
    (tmp_path / "s" / "classes.txt").write_text("ant\n\ncow\n")
    with pytest.raises(UsageError, match=r"classes.txt must hold a class name a line; line 2"):
        open_source(str(tmp_path / "s"), "", "validation")
    (tmp_path / "s" / "classes.txt").unlink()
    assert open_source(str(tmp_path / "s"), "", "validation").classes == ("0", "1", "2")


def test_a_shard_cut_at_the_end_of_a_record_is_told(folder, tmp_path):
    assert make_shards.main([str(folder), str(tmp_path), "--shards", "2"]) == 0
    path = tmp_path / "train-00001-of-00002.tfrecord"
    starts = records._scan(str(path))
    path.write_bytes(path.read_bytes()[: starts[-1]])
    with pytest.raises(UsageError, match=r"train-00001.* must hold 12 records; it holds 11: copy"):
        open_source(str(tmp_path), "", "train")


def test_files_that_are_not_on_disk(folder, shards, tmp_path, monkeypatch):
    """As in a bucket: read by TensorFlow only, places of records noted down at the first start."""
    monkeypatch.setattr(records, "_CACHE", tmp_path)
    assert contents(open_source(f"file://{folder}", "", "train")) == of_folder(folder)
    assert contents(open_source(f"file://{shards}", "", "train")) == of_folder(folder)
    assert len(list(tmp_path.iterdir())) == len(list(shards.glob("train-*")))
    monkeypatch.setattr(records, "_scan", pytest.fail)
    assert contents(open_source(f"file://{shards}", "", "train")) == of_folder(folder)
