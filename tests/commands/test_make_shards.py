import pathlib

import pytest

from keras_mixers.commands import make_shards
from keras_mixers.data import shards
from tests.helpers import commands

pytestmark = pytest.mark.tensorflow

ROOT = pathlib.Path(__file__).resolve().parents[2]
JPEG = b"\xff\xd8\xff\xe0"
PNG = b"\x89PNG\r\n\x1a\n"


def put(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture
def images(tmp_path):
    """Three classes in train, two of them in val; 13 images and 3 images."""
    folder = tmp_path / "images"
    for number in range(10):
        put(folder, f"train/dog/{number}.jpg", JPEG + bytes([number]))
    put(folder, "train/Yak/1.JPEG", JPEG + b"yak")
    put(folder, "train/cat/old/deep/1.PnG", PNG + b"deep cat")
    put(folder, "train/cat/höhle.png", PNG + b"cat in a cave")
    put(folder, "train/cat/.DS_Store", b"passed over")
    put(folder, "train/cat/.cache/1.jpg", JPEG + b"passed over")
    for name in ("cat/a.jpg", "dog/b.jpg", "dog/c.jpg"):
        put(folder, f"val/{name}", JPEG + name.encode())
    return folder


def records(out, split):
    """Returns for each shard of a split its records, `(image, label, name)`."""
    import tensorflow as tf

    found = []
    for path in sorted(out.glob(f"{split}-*-of-*.tfrecord")):
        shard = []
        for raw in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            feature = tf.train.Example.FromString(raw).features.feature
            assert set(feature) == {"image", "label", "name"}
            (image,) = feature["image"].bytes_list.value
            (label,) = feature["label"].int64_list.value
            (name,) = feature["name"].bytes_list.value
            shard.append((image, label, name.decode()))
        found.append(shard)
    return found


def names_in(out):
    return sorted(path.name for path in out.iterdir())


def refuse(arguments, capsys):
    error = commands.refuse(make_shards.main, arguments, capsys)
    return error.removeprefix("keras-mixers make-shards: error: ")


def test_every_image_is_read_back(images, tmp_path, capsys):
    out = tmp_path / "new" / "shards"
    assert make_shards.main([str(images), str(out), "--shards", "3"]) == 0
    assert names_in(out) == [
        "classes.txt",
        "counts.json",
        *(f"train-0000{shard}-of-00003.tfrecord" for shard in range(3)),
        *(f"validation-0000{shard}-of-00003.tfrecord" for shard in range(3)),
    ]
    assert (out / "classes.txt").read_text() == "Yak\ncat\ndog\n"
    labels = {"Yak": 0, "cat": 1, "dog": 2}
    for split, folder, sizes in (("train", "train", [5, 4, 4]), ("validation", "val", [1, 1, 1])):
        written = records(out, split)
        assert [len(shard) for shard in written] == sizes
        got = {name: (image, label) for shard in written for image, label, name in shard}
        assert got == {
            path.relative_to(images).as_posix(): (path.read_bytes(), labels[path.parts[-2]])
            if "deep" not in path.parts
            else (path.read_bytes(), labels["cat"])
            for path in (images / folder).rglob("*")
            if path.is_file() and "/." not in str(path)
        }
    table = [line.replace(" ", "") for line in capsys.readouterr().out.splitlines()]
    assert table[0] == "|split|images|classes|shards|MB|"
    assert table[2:] == ["|train|13|3|3|0|", "|validation|3|2|3|0|"]


def test_shuffled_always_alike(images, tmp_path):
    for out in ("one", "two"):
        shards.make_shards(images, tmp_path / out, shards=1)
    for name in names_in(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    labels = [label for _, label, _ in records(tmp_path / "one", "train")[0]]
    assert labels != sorted(labels)


def test_usual_number_of_shards(images, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 16)  # The 13 images have 94 bytes.
    train, validation = shards.make_shards(images, tmp_path / "out")
    assert (train.shards, train.size) == (6, 94)
    assert validation.shards == 2
    monkeypatch.undo()
    assert [split.shards for split in shards.make_shards(images, tmp_path / "big")] == [1, 1]


def test_what_is_no_image_is_left_out(images, tmp_path, capsys):
    for number in range(12):
        put(images, f"train/dog/z{number:02d}.jpg", b"%PDF-1.4")
    put(images, "val/dog/empty.jpg", b"")
    assert make_shards.main([str(images), str(tmp_path / "out")]) == 1
    assert [len(shard) for shard in records(tmp_path / "out", "train")] == [13]
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("13 of 29 files, more than 0.1 %, are no images that can be read")
    assert last.count("train/dog/z") == 10
    assert last.endswith(", ...")


def test_a_few_that_are_no_images_are_no_failure(images, tmp_path, capsys):
    for number in range(1000):
        put(images, f"train/dog/more{number}.jpg", JPEG)
    put(images, "val/dog/readme.txt", b"hello")
    assert make_shards.main([str(images), str(tmp_path / "out")]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == (
        "1 of 1017 files are no images that can be read, by their first bytes, and were left "
        "out: val/dog/readme.txt"
    )


def test_overwrite(images, tmp_path, capsys):
    out = tmp_path / "out"
    shards.make_shards(images, out, shards=3)
    before = {name: (out / name).read_bytes() for name in names_in(out)}
    assert refuse([images, out], capsys) == (
        f"`out` must be without shards: choose another folder or pass --overwrite. Received: {out}"
    )
    assert {name: (out / name).read_bytes() for name in names_in(out)} == before
    (out / "notes.txt").write_text("mine")
    assert make_shards.main([str(images), str(out), "--shards", "1", "--overwrite"]) == 0
    assert names_in(out) == [
        "classes.txt",
        "counts.json",
        "notes.txt",
        "train-00000-of-00001.tfrecord",
        "validation-00000-of-00001.tfrecord",
    ]


def test_a_run_cut_short_leaves_no_final_name(images, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def example(image, label, name):
        if name.startswith("val/"):
            raise Killed
        return b"half"

    out = tmp_path / "out"
    monkeypatch.setattr(shards, "_example", example)
    with pytest.raises(Killed):
        shards.make_shards(images, out)
    assert names_in(out) == ["incomplete-shards"]
    monkeypatch.undo()
    assert make_shards.main([str(images), str(out)]) == 0
    assert "incomplete-shards" not in names_in(out)
    assert len(records(out, "train")[0]) == 13


def test_a_run_cut_short_while_renaming_starts_over(images, tmp_path, monkeypatch):
    import tensorflow as tf

    class Killed(BaseException):
        pass

    def rename(source, target, _rename=tf.io.gfile.rename):
        if target.endswith("classes.txt"):
            raise Killed
        _rename(source, target)

    out = tmp_path / "out"
    monkeypatch.setattr("tensorflow.io.gfile.rename", rename)
    with pytest.raises(Killed):
        shards.make_shards(images, out, shards=3)
    assert len(names_in(out)) == 8
    assert "classes.txt" not in names_in(out)  # It comes last: readers can tell.
    monkeypatch.undo()
    assert make_shards.main([str(images), str(out), "--shards", "2"]) == 0
    assert len(names_in(out)) == 6


def _empty_class(folder):
    (folder / "train" / "zebra").mkdir()


def _class_that_train_lacks(folder):
    put(folder, "val/zebra/1.jpg", JPEG)


def _unknown_split(folder):
    put(folder, "valid/dog/1.jpg", JPEG)


def _two_validations(folder):
    put(folder, "validation/dog/1.jpg", JPEG)


def _no_train(folder):
    (folder / "train").rename(folder / "test")


def _no_images_at_all(folder):
    put(folder, "test/dog/1.jpg", b"%PDF-1.4")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            _empty_class,
            "or remove the folder. Received the folder without any: {}/train/zebra",
        ),
        (_class_that_train_lacks, "of the classes in train. Received: {}/val with zebra"),
        (
            _unknown_split,
            "one folder for validation: rename or move the others. Received: val, v",
        ),
        (_two_validations, "rename or move the others. Received: val, validation"),
        (
            _no_train,
            "must hold a folder train, or a folder per class. Received: test, val",
        ),
        (_no_images_at_all, "for test only files of other kinds, such as: test/dog/1.jpg"),
    ],
)
def test_refused_folders(change, sentence, images, tmp_path, capsys):
    change(images)
    out = tmp_path / "out"
    error = refuse([images, out], capsys)
    assert error.startswith("`images` must")
    assert sentence.format(images) in error
    assert not out.exists() or names_in(out) == ["incomplete-shards"]


def test_refused_arguments(images, tmp_path, capsys):
    out, empty, file = tmp_path / "out", tmp_path / "empty", tmp_path / "file"
    empty.mkdir()
    file.write_text("")
    for arguments, sentence in (
        ((empty, out), "it has no folder: put the images"),
        ((tmp_path / "missing", out), "it has no folder: put the images"),
        ((images, file), f"`out` must be a folder. Received the file: {file}"),
        ((images, images / "x"), "`out` must not be in `images`: choose another."),
        ((images, out, "--shards", 0), "--shards: must be from 1 to 99999. Received: 0"),
        ((images, out, "--shards", 4), "files of the smallest split, 3. Received: 4"),
    ):
        assert sentence in refuse(arguments, capsys)
    assert not out.exists()


def test_what_cannot_be_written_is_one_sentence(images, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    error = refuse([images, tmp_path / "file" / "out"], capsys)
    assert str(tmp_path / "file") in error
