"""Labels in tables: of any usual columns, delimiters and places of the images."""

import json

import numpy as np
import pytest

from keras_mixers.data.sources import lacks_validation, open_source, splits
from keras_mixers.errors import UsageError
from tests.helpers.image_files import CLASSES, colorful, encode, write_folder

pytestmark = pytest.mark.tensorflow


def images(folder, per_class=4, ending=".jpg"):
    """Writes images whose names tell their class; returns these names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{name}{number}" for name in CLASSES for number in range(per_class)]
    for name in names:
        data = encode(colorful(CLASSES.index(name[:3]), int(name[3:])), quality=95)
        (folder / f"{name}{ending}").write_bytes(data)
    return names


def write(path, rows, mark=","):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(mark.join(map(str, row)) + "\n" for row in rows))
    return path


def pairs(data, split="train", *keys):
    """Names of images, without folder and ending, with the class that the source says."""
    source = open_source(str(data), "", split, *keys)
    return {
        source.name(i).rpartition("/")[-1].partition(".")[0]: source.classes[source.labels[i]]
        for i in range(len(source))
    }


@pytest.mark.parametrize(
    ("header", "mark"),
    [
        (("path", "label"), ","),
        (("image_id", "Label"), ";"),
        (("Image Name", "category"), "\t"),
        (("file", "species"), ","),
        (("what", "class"), ","),
    ],
)
@pytest.mark.parametrize(
    "form", ["{}.jpg", "{}", "images/{}.jpg", "./images/{}.jpg", "else/{}.jpg"]
)
def test_kaggles_form(header, mark, form, tmp_path, caplog):
    names = images(tmp_path / "images")
    rows = [(form.format(name), name[:3]) for name in names]
    table = write(tmp_path / "train.csv", [header, *rows], mark)
    expected = {name: name[:3] for name in names}
    assert pairs(tmp_path) == pairs(table) == expected
    assert splits(str(tmp_path), "") == ("train",)
    assert lacks_validation(str(table))
    line = f"{table}: images are taken from the column {header[0]}, labels from {header[1]}"
    assert line in caplog.messages
    held_out = pairs(table, "train[75%:]")
    assert sorted(held_out.values()) == sorted(CLASSES)


def test_a_column_of_splits_and_tables_of_splits(tmp_path):
    names = images(tmp_path / "images", 5)
    of = {name: ("Training", "valid", "TEST")[min(int(name[3:]) // 2, 2)] for name in names}
    rows = [(of[name], name, name[:3]) for name in names]
    table = write(tmp_path / "all.csv", [("split", "image", "label"), *rows])
    assert splits(str(tmp_path), "") == ("train", "validation", "test")
    assert not lacks_validation(str(table))
    for split, word in (("train", "Training"), ("validation", "valid"), ("test", "TEST")):
        assert pairs(table, split) == {n: n[:3] for n in names if of[n] == word}
    table.unlink()
    for word in ("Training", "valid", "TEST"):
        chosen = [(name, name[:3]) for name in names if of[name] == word]
        write(tmp_path / f"{word}_labels.csv", [("image", "label"), *chosen])
    assert splits(str(tmp_path), "") == ("train", "validation", "test")
    assert pairs(tmp_path, "val") == {n: n[:3] for n in names if of[n] == "valid"}


def test_metadata_in_the_folders_of_the_splits(tmp_path):
    """As in the image folders of Hugging Face."""
    for split in ("train", "test"):
        names = images(tmp_path / split)
        lines = [json.dumps({"file_name": f"{n}.jpg", "label": n[:3]}) for n in names]
        (tmp_path / split / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    assert splits(str(tmp_path), "") == ("train", "test")
    assert pairs(tmp_path, "test") == {name: name[:3] for name in names}


def test_numbers_are_classes_in_their_order(tmp_path):
    names = images(tmp_path)
    rows = [(f"{name}.jpg", 9 + CLASSES.index(name[:3])) for name in names]
    source = open_source(str(write(tmp_path / "a.csv", [("path", "label"), *rows])), "", "train")
    assert source.classes == ("9", "10", "11")


def test_a_table_beside_class_folders_is_no_table_of_labels(tmp_path, caplog):
    write_folder(tmp_path)
    write(tmp_path / "sizes.csv", [("path", "width", "height"), ("x.jpg", 3, 4)])
    assert len(open_source(str(tmp_path), "", "train")) == 24
    assert "the classes are its folders, ant, bee, cow; not used: sizes.csv" in caplog.text
    (tmp_path / "sizes.csv").unlink()
    for name in ("images", "masks"):
        images(tmp_path / "other" / name)
    rows = [(f"images/{name}{i}.jpg", name) for name in CLASSES for i in range(4)]
    write(tmp_path / "other" / "labels.csv", [("path", "label"), *rows])
    assert set(pairs(tmp_path / "other").values()) == set(CLASSES)


def test_what_is_missing_or_not_told_apart_is_counted(tmp_path, caplog):
    names = images(tmp_path / "a")
    images(tmp_path / "b", 1)
    rows = [(f"{name}.jpg", name[:3]) for name in [*names, "ant99"]]
    table = write(tmp_path / "labels.csv", [("path", "label"), *rows])
    found = pairs(table)
    assert found == {name: name[:3] for name in names if not name.endswith("0")}
    assert (
        "left out 4 of 13 rows, whose images are missing or not told apart: ant0.jpg" in caplog.text
    )
    write(table, [("path", "label"), ("nothing.jpg", "ant")])
    with pytest.raises(UsageError, match=r"None of 1 is there, such as: nothing\.jpg"):
        pairs(table)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a,b,c\n1,2,3\n", "--image-key must name the column of .*: a, b, c. Received: none"),
        (
            "path,b,c\nant0,2,3\n",
            "--label-key must name the column of .* with the labels: path,",
        ),
        ("path,label\n", "must have a row for each image; it has none"),
        (
            "path,label\nant0\n",
            "must have an image and one label in each row. .* row 2: ant0, N",
        ),
        ("path,label\nant0,x\nant0,y\n", "one label for each image; it has x and y for ant0"),
        (
            "path,label,split\nant0,x,train\nant1,y,val\n",
            "its training images only in validation",
        ),
    ],
)
def test_tables_that_cannot_be_used(text, sentence, tmp_path):
    images(tmp_path)
    (tmp_path / "labels.csv").write_text(text)
    split = "validation" if "val" in text else "train"
    with pytest.raises(UsageError, match=sentence):
        pairs(tmp_path / "labels.csv", split)


def test_a_table_that_is_none(tmp_path):
    (tmp_path / "labels.jsonl").write_text("{")
    with pytest.raises(UsageError, match="cannot be read as a table"):
        pairs(tmp_path / "labels.jsonl")


def test_parts_of_the_images_are_no_classes_where_a_column_is_named(tmp_path, caplog):
    """As in HAM10000, whose column of classes has a name of its own."""
    names = images(tmp_path / "part_1")
    for name in names[::2]:
        (tmp_path / "part_2").mkdir(exist_ok=True)
        (tmp_path / "part_1" / f"{name}.jpg").rename(tmp_path / "part_2" / f"{name}.jpg")
    rows = [(name, name[:3], 50) for name in names]
    write(tmp_path / "all_metadata.csv", [("image_id", "dx", "age"), *rows])
    assert set(pairs(tmp_path).values()) == {"part_1", "part_2"}
    assert "not used: all_metadata.csv (for its labels, give it as --data)" in caplog.text
    expected = {name: name[:3] for name in names}
    assert pairs(tmp_path, "train", None, "dx") == expected
    assert lacks_validation(str(tmp_path), None, "dx")


def test_columns_by_name(tmp_path):
    names = images(tmp_path)
    rows = [(name, name[:3], name[3:]) for name in names]
    table = write(tmp_path / "labels.csv", [("key", "kind", "number"), *rows])
    assert pairs(table, "train", "key", "kind") == {name: name[:3] for name in names}
    assert set(pairs(table, "train", "key", "number").values()) == set(map(str, np.arange(4)))


def test_another_folder_than_the_table_says_must_be_the_only_one_meant(tmp_path, caplog):
    images(tmp_path / "a", 1)
    rows = [(f"{folder}/{name}0.jpg", name) for name in CLASSES for folder in ("a", "b")]
    table = write(tmp_path / "t.csv", [("path", "label"), *rows, ("d\\ant0.jpg", "ant")])
    assert pairs(table) == {f"{name}0": name for name in CLASSES}
    assert "left out 4 of 7 rows, whose images are missing or not told apart: b/ant0" in caplog.text


def test_columns_of_windows_pandas_and_other_things(tmp_path, caplog):
    images(tmp_path / "a", 1)
    header = ("", "Image Index", "Finding Labels", "Confidence", "split")
    rows = [(n, f"C:\\a\\{name}0.jpg", name, 0.5, "") for n, name in enumerate(CLASSES)]
    rows += [(3, "a/ant0.jpg", "", 1, "train")]
    table = write(tmp_path / "t.csv", [header, *rows[:3]])
    assert pairs(table) == {f"{name}0": name for name in CLASSES}
    assert "not used: Confidence; 3 rows without a split are taken as train" in caplog.text
    rows[0] = rows[3]
    assert pairs(write(tmp_path / "u.csv", [header, *rows[:3]])) == {"bee0": "bee", "cow0": "cow"}
    assert "left out 1 of 3 rows without a label: a/ant0.jpg" in caplog.text
