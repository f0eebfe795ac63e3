"""Folders as people have them: names of splits, what lies beside the images, links."""

import os
import socket
import unicodedata

import numpy as np
import pytest

from keras_mixers.data import layout
from keras_mixers.data.sources import open_source, splits
from keras_mixers.errors import UsageError
from tests.helpers.image_files import CLASSES, colorful, encode, write_folder

pytestmark = pytest.mark.tensorflow
JPEG = encode(colorful(0, 0))


def put(path, data=JPEG):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def counts(folder, split="train"):
    source = open_source(str(folder), "", split)
    numbers = np.bincount(source.labels, minlength=len(source.classes))
    return dict(zip(source.classes, numbers.tolist(), strict=True))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "train") for name in ("train", "Training", "TRAIN_SET", "trainset", "train2017")),
        *((name, "train") for name in ("training_data", "Train Images", "trn")),
        *((name, "validation") for name in ("val", "valid", "Validation", "dev", "valset")),
        *((name, "validation") for name in ("validation_set", "val2017", "eval")),
        *((name, "test") for name in ("test", "Testing", "test-set", "HoldOut", "test_data")),
        *((name, None) for name in ("trains", "dog", "set", "2017", "contest", "data", "trainer")),
    ],
)
def test_usual_names_of_splits(name, split):
    assert layout.split_of(name) == split


@pytest.mark.parametrize(
    "names", [("Training", "Testing"), ("train_set", "test_set"), ("TRAIN", "holdout")]
)
def test_splits_of_any_name_are_no_classes(names, tmp_path):
    write_folder(tmp_path)
    for old, new in zip(("train", "validation"), names, strict=True):
        (tmp_path / old).rename(tmp_path / new)
    assert counts(tmp_path) == dict.fromkeys(CLASSES, 8)
    assert counts(tmp_path, "test") == dict.fromkeys(CLASSES, 4)
    assert splits(str(tmp_path), "") == ("train", "test")
    with pytest.raises(UsageError, match="must hold a folder validation: make it, or choose"):
        open_source(str(tmp_path), "", "validation")


def test_a_test_split_is_found_where_it_is_all_there_is(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "validation").rename(tmp_path / "Test")
    import shutil

    shutil.rmtree(tmp_path / "train")
    assert counts(tmp_path, "test") == dict.fromkeys(CLASSES, 4)


def test_a_class_may_have_the_name_of_a_split(tmp_path):
    for name in ("bus", "train", "car"):
        put(tmp_path / name / "1.jpg")
    assert counts(tmp_path) == {"bus": 1, "car": 1, "train": 1}
    for name in ("bus", "train", "car"):
        put(tmp_path / "all" / "train" / name / "1.jpg")
    assert counts(tmp_path / "all") == {"bus": 1, "car": 1, "train": 1}


def test_folders_around_the_splits_are_looked_into(tmp_path, caplog):
    write_folder(tmp_path / "archive" / "images")
    assert counts(tmp_path) == dict.fromkeys(CLASSES, 8)
    inner = tmp_path / "archive" / "images"
    (inner / "train").rename(inner / "train_")
    (inner / "train").mkdir()
    (inner / "train_").rename(inner / "train" / "train")
    assert counts(tmp_path) == dict.fromkeys(CLASSES, 8)
    for name in CLASSES:
        put(tmp_path / "one" / "flowers" / name / "1.jpg")
    assert counts(tmp_path / "one") == dict.fromkeys(CLASSES, 1)
    assert "the classes are the folders in flowers" in caplog.text


@pytest.mark.parametrize(
    ("paths", "sentence"),
    [
        (("val/a/1.jpg", "valid/a/1.jpg", "train/a/1.jpg"), "one folder for validation: .* valid"),
        (("train/a/1.jpg", "train/val/a/1.jpg"), "val there is a split of its own"),
        (("a/train/1.jpg", "a/val/1.jpg", "b/train/1.jpg"), "is a class that holds splits"),
        (("train/1.jpg", "test/1.jpg"), "there is none in test, train: put the images into"),
        (("test/a/1.jpg", "dog/1.jpg"), "either splits or classes: test holds folders, as"),
        (("train/1.jpg",), "there is none in train"),
    ],
)
def test_what_would_be_mistaken_is_refused(paths, sentence, tmp_path):
    for path in paths:
        put(tmp_path / path)
    with pytest.raises(UsageError, match=sentence):
        open_source(str(tmp_path), "", "train")


def test_what_is_left_out_is_counted_by_kind(tmp_path, caplog):
    write_folder(tmp_path)
    ant = tmp_path / "train" / "ant"
    for name, data in {
        "notes.txt": b"hello",
        "more.txt": b"hello",
        "drawing.svg": b"<svg/>",
        "README": b"hello",
        "photo": JPEG,
        "photo.dat": JPEG,
        "._0.jpg": b"\0\5\26\7",
        ".ipynb_checkpoints/0-checkpoint.jpg": JPEG,
        "@eaDir/0.jpg": JPEG,
    }.items():
        put(ant / name, data)
    put(tmp_path / "train" / "__MACOSX" / "0.jpg")
    put(tmp_path / "train" / "loose.jpg")
    (ant / "gone.jpg").symlink_to("nowhere.jpg")
    assert counts(tmp_path) == {"ant": 10, "bee": 8, "cow": 8}
    assert caplog.messages == [
        f"{tmp_path}/train: left out 6 of 32 files: 2 .txt, 1 .svg, 1 images in no class's folder, "
        "1 links to nothing, 1 without an ending"
    ]


def test_every_format_is_an_image_whatever_its_name(tmp_path):
    for number, kind in enumerate(("PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF")):
        data = encode(colorful(1, number), kind)
        put(tmp_path / "a" / f"named.{kind.lower()}", data)
        put(tmp_path / "b" / f"{number}.jpg", data)
        put(tmp_path / "b" / str(number), data)
    assert counts(tmp_path) == {"a": 6, "b": 12}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes with names")
def test_loops_of_links_and_what_is_no_file(tmp_path, caplog, monkeypatch):
    """As a pipe, which would be waited for, and a link to the folder around it."""
    put(tmp_path / "a" / "1.jpg")
    put(tmp_path / "elsewhere" / "2.jpg")
    (tmp_path / "data" / "a").mkdir(parents=True)
    put(tmp_path / "data" / "a" / "1.jpg")
    put(tmp_path / "data" / "b" / "1.jpg")
    (tmp_path / "data" / "a" / "loop").symlink_to(tmp_path / "data" / "a")
    (tmp_path / "data" / "a" / "self").symlink_to("self")
    (tmp_path / "data" / "b" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "b" / "again").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "data" / "a" / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as address:
        monkeypatch.chdir(tmp_path / "data" / "b")  # The names of sockets must be short.
        address.bind("socket.jpg")
        assert counts(tmp_path / "data") == {"a": 1, "b": 2}
    (line,) = caplog.messages
    assert "2 folders linked a second time, 2 pipes, sockets or devices, 1 links to nothing" in line


def test_names_in_two_unicode_forms_are_one_class(tmp_path):
    composed, parted = (unicodedata.normalize(form, "caffè") for form in ("NFC", "NFD"))
    assert composed != parted
    for name in (composed, "tea"):
        put(tmp_path / "train" / name / "1.jpg")
    for name in (parted, "tea"):
        put(tmp_path / "val" / name / "2.jpg")
    put(tmp_path / "train" / parted / "3.jpg")
    assert counts(tmp_path) == {composed: 2, "tea": 1}
    assert counts(tmp_path, "validation") == {composed: 1, "tea": 1}


def test_the_only_image_of_a_class_is_trained_on(tmp_path):
    for number in range(40):
        put(tmp_path / f"class{number}" / "1.jpg")
    assert set(counts(tmp_path, "train[:80%]").values()) <= {0, 1}
    for number in range(40):
        put(tmp_path / f"class{number}" / "2.jpg")
    for number in range(5):
        (tmp_path / f"class{number}" / "2.jpg").unlink()
    assert min(counts(tmp_path, "train[:80%]").values()) == 1
