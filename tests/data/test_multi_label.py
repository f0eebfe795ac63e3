"""Several labels an image: from every form of table and record to the vectors of a batch."""

import collections
import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from keras_mixers.data.dataset import ImageData
from keras_mixers.data.sources import open_source, splits
from keras_mixers.errors import UsageError
from keras_mixers.presets import digits_mixer
from tests.helpers import image_files, prepared_sets
from tests.helpers.image_files import colorful, encode

pytestmark = pytest.mark.tensorflow

# Of each image, by its name: none, one, all.
LABELS = {
    "0": ("red",),
    "1": ("red", "wet"),
    "2": (),
    "3": ("dim", "red", "wet"),
    "4": ("dim",),
    "5": ("red", "wet"),
}
CLASSES = ("dim", "red", "wet")
CONFIG = dataclasses.replace(
    digits_mixer.CONFIG, image_size=24, batch_size=6, multi_label=True, loss="sigmoid"
)


def images(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name in LABELS:
        (folder / f"{name}.jpg").write_bytes(encode(colorful(0, int(name))))


def write(path, header, rows):
    lines = [",".join(map(str, row)) for row in (header, *rows)]
    path.write_text("".join(f"{line}\n" for line in lines))


def of_source(source):
    """The labels that a source says, by the name of the image."""
    found = {}
    for index in range(len(source)):
        _, shares = source.read(tf.constant(index, tf.int64))
        assert shares.dtype == tf.float32
        assert set(np.unique(shares)) <= {0, 1}
        names = (n for n, share in zip(source.classes, shares, strict=True) if share)
        found[source.name(index).rpartition("/")[-1].partition(".")[0]] = tuple(names)
    return found


def labels(data, split="train", **reading):
    return of_source(open_source(str(data), "", split, multi_label=True, **reading))


@pytest.mark.parametrize("mark", ["|", ";", " ", " | ", "/"])
def test_a_cell_holds_labels_with_something_between(mark, tmp_path, caplog):
    images(tmp_path / "images")
    write(tmp_path / "a.csv", ("id", "tags"), [(n, mark.join(of)) for n, of in LABELS.items()])
    asked = {"label_separator": "/"} if mark == "/" else {}
    assert labels(tmp_path, **asked) == LABELS
    shown = "a space" if mark == " " else f'"{mark.strip()}"'
    assert f"labels from tags, separated by {shown} (--label-separator)" in caplog.text
    assert "1 of 6 rows have no label; 3 labels: dim, red, wet" in caplog.text


def test_a_cell_holds_labels_with_commas(tmp_path):
    images(tmp_path)
    write(
        tmp_path / "a.csv", ("id", "tags"), [(n, f'"{", ".join(of)}"') for n, of in LABELS.items()]
    )
    assert labels(tmp_path) == LABELS


@pytest.mark.parametrize("form", ["a list", "text of a list", "a row each"])
def test_other_forms_of_a_column(form, tmp_path):
    images(tmp_path / "images")
    if form == "a row each":  # The names may have spaces then.
        rows = [(name, f"{label} one") for name, of in LABELS.items() for label in of or ("no",)]
        write(tmp_path / "a.csv", ("image", "label"), rows)
        found = {
            n: tuple(f"{label} one" for label in of) or ("no one",) for n, of in LABELS.items()
        }
        assert labels(tmp_path) == found
        return
    if form == "a list":
        lines = [json.dumps({"image": f"{n}.jpg", "labels": of}) for n, of in LABELS.items()]
        (tmp_path / "a.jsonl").write_text("\n".join(lines))
    else:  # As pandas writes it.
        rows = [(f"{n}.jpg", f'"{list(of)}"') for n, of in LABELS.items()]
        write(tmp_path / "a.csv", ("image", "labels"), rows)
    assert labels(tmp_path) == LABELS


@pytest.mark.parametrize(
    ("yes", "no"), [("1", "0"), ("1.0", "0.0"), ("True", "False"), ("1", "-1"), ("1.0", "")]
)
def test_a_column_each(yes, no, tmp_path, caplog):
    images(tmp_path)
    columns = ("wet", "dim", "red", "never")  # Their order stays.
    rows = [
        (name, 10 + int(name), *(yes if c in of else "0" if c == "never" else no for c in columns))
        for name, of in LABELS.items()
    ]
    write(tmp_path / "train.csv", ("Image", "age", *columns), rows)
    source = open_source(str(tmp_path), "", "train", multi_label=True)
    assert source.classes == columns
    assert {name: tuple(sorted(of)) for name, of in of_source(source).items()} == LABELS
    assert "labels from 4 columns, wet, dim, red, never" in caplog.text
    assert "no row has never; not used: age; 4 labels" in caplog.text
    taken = {"-1": "-1 is taken as 0, in 9 cells", "": "an empty cell is taken as 0, in 9 cells"}
    assert all((line in caplog.text) == (mark == no) for mark, line in taken.items())


def test_a_column_each_with_one_label_a_row_needs_no_option(tmp_path):
    images(tmp_path)
    rows = [(n, *(int(int(n) % 3 == place) for place in range(3))) for n in LABELS]
    write(tmp_path / "a.csv", ("image", "mel", "nv", "bcc"), rows)
    source = open_source(str(tmp_path), "", "train")
    assert source.classes == ("mel", "nv", "bcc")
    assert all(int(source.name(i)[-5]) % 3 == source.labels[i] for i in range(6))


def test_validation_has_the_classes_of_the_training(tmp_path):
    images(tmp_path)
    header = ("image", *CLASSES)
    rows = [(n, *(int(c in of) for c in CLASSES)) for n, of in LABELS.items()]
    write(tmp_path / "train.csv", header, rows[:4])
    write(tmp_path / "valid.csv", header, rows[4:])
    assert splits(str(tmp_path), "", None, None, True) == ("train", "validation")
    assert labels(tmp_path, "validation") == {"4": LABELS["4"], "5": LABELS["5"]}
    write(tmp_path / "valid.csv", (*header, "new"), [(*row, 1) for row in rows[4:]])
    with pytest.raises(UsageError, match=r"classes of its training images only in val.*new"):
        labels(tmp_path, "validation")


def test_a_part_that_is_held_out_has_its_share_of_rare_labels(tmp_path):
    rows = []
    for number in range(100):
        (tmp_path / f"{number}.jpg").write_bytes(encode(colorful(0, number % 30)))
        rare = f"|rare{number // 5}" if number < 25 else ""
        rows.append((number, f"common{rare}" if number < 60 else ""))
    write(tmp_path / "a.csv", ("image", "labels"), rows)
    rest = labels(tmp_path, "train[80%:]")
    counts = collections.Counter(label for of in rest.values() for label in of)
    assert counts == {"common": 12} | {f"rare{number}": 1 for number in range(5)}
    assert not rest.keys() & labels(tmp_path, "train[:80%]").keys()


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (("image", "a", "b"), [(0, 1, 1), (1, 0, 1)], "column for each label .a, b., and 1 of 2"),
        (("image", "label"), [(0, "a"), (0, "b")], "it has a and b for 0: give --multi-label"),
    ],
)
def test_without_the_option_several_labels_are_told(header, rows, message, tmp_path):
    images(tmp_path)
    write(tmp_path / "a.csv", header, rows)
    with pytest.raises(UsageError, match=message):
        open_source(str(tmp_path), "", "train")


def test_without_the_option_a_list_is_told_and_a_cell_of_several_is_doubted(tmp_path, caplog):
    images(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"image": "0.jpg", "labels": ["a", "b"]}\n')
    with pytest.raises(UsageError, match="one label in each row: give --multi-label for several"):
        open_source(str(tmp_path / "a.jsonl"), "", "train")
    write(tmp_path / "b.csv", ("image", "label"), [(0, "a"), (1, "b"), (2, "a|b"), (3, "b|a")])
    assert open_source(str(tmp_path / "b.csv"), "", "train").classes == ("a", "a|b", "b", "b|a")
    assert 'each cell is one class, such as "a|b" (give --multi-label if' in caplog.text
    caplog.clear()
    write(tmp_path / "c.csv", ("image", "label"), [(0, "red fox"), (1, "arctic fox"), (2, "cat")])
    open_source(str(tmp_path / "c.csv"), "", "train")
    assert "give --multi-label" not in caplog.text


def test_a_folder_has_one_label_each(tmp_path, caplog):
    folder = image_files.write_folder(tmp_path / "images", 2, 1)
    source = open_source(str(folder), "", "train", multi_label=True)
    assert all(of == (source.name(i).split("/")[-2],) for i, of in enumerate(_in_order(source)))
    assert "each image has one label, that of its folder" in caplog.text


def _in_order(source):
    for index in range(len(source)):
        _, shares = source.read(tf.constant(index, tf.int64))
        yield tuple(n for n, share in zip(source.classes, shares, strict=True) if share)


def record(name, **features):
    data = encode(colorful(0, int(name)))
    kinds = {"image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))}
    for key, values in features.items():
        if key.endswith("text"):
            kinds[key] = tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        else:
            kinds[key] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Example(features=tf.train.Features(feature=kinds)).SerializeToString()


def write_records(path, records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for each in records:
            writer.write(each)


@pytest.mark.parametrize("form", ["numbers", "from one, with names", "shares"])
def test_records_of_others(form, tmp_path, caplog):
    numbers = {name: [CLASSES.index(label) for label in of] for name, of in LABELS.items()}
    if form == "numbers":
        records = [record(name, labels=of) for name, of in numbers.items()]
        (tmp_path / "classes.txt").write_text("dim\nred\nwet\n")
    elif form == "shares":
        records = [record(n, target=[int(i in of) for i in range(3)]) for n, of in numbers.items()]
        (tmp_path / "classes.txt").write_text("dim\nred\nwet\n")
    else:  # As TensorFlow's Object Detection API writes them; a label may come twice.
        records = [
            record(
                name,
                **{
                    "image/object/class/label": [i + 1 for i in (*of, *of)],
                    "image/object/class/text": [CLASSES[i].encode() for i in (*of, *of)],
                },
            )
            for name, of in numbers.items()
        ]
    write_records(tmp_path / "train.tfrecord", records)
    source = open_source(str(tmp_path), "", "train", multi_label=True)
    assert source.classes == CLASSES
    assert list(_in_order(source)) == list(LABELS.values())
    told = {
        "numbers": "labels from labels, which are 0 to 2: 3 classes, dim, red, wet; 1 of 6 images",
        "shares": "labels from target, a 0 or 1 for each of 3 classes, dim, red, wet",
        "from one, with names": "which are 1 to 3 (0 would be the background): 3 classes, dim, re",
    }
    assert told[form] in caplog.text
    with pytest.raises(UsageError, match="give --multi-label"):
        open_source(str(tmp_path), "", "train", label_key=None if form != "shares" else "target")


def test_a_record_with_a_label_of_no_class_is_unreadable(tmp_path):
    (tmp_path / "classes.txt").write_text("dim\nred\nwet\n")
    write_records(tmp_path / "train.tfrecord", [record(n, labels=[0]) for n in "0123"])
    source = open_source(str(tmp_path), "", "train", multi_label=True)
    write_records(tmp_path / "train.tfrecord", [record(n, labels=[int(n)]) for n in "0123"])
    data = ImageData(source)
    why = [data.why_unreadable(index, CONFIG) for index in range(4)]
    assert why == ["", "", "", "its labels must be from 0 to 2; they are [3]"]


@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_sets_of_tensorflow_datasets(file_format, tmp_path, caplog):
    import tensorflow_datasets as tfds

    if file_format == "array_record":
        pytest.importorskip("array_record")
    label = tfds.features.ClassLabel(names=CLASSES)
    features = {
        "image": tfds.features.Image(encoding_format="jpeg"),
        "labels": tfds.features.Sequence(label),
        "objects": tfds.features.Sequence({"label": label, "size": np.int64}),
        "attributes": {name: np.bool_ for name in CLASSES},
        "main": label,
    }
    examples = [
        {
            "image": colorful(0, int(name)),
            "labels": of,
            "objects": [{"label": each, "size": 1} for each in (*of, *of)],
            "attributes": {each: each in of for each in CLASSES},
            "main": "wet",
        }
        for name, of in LABELS.items()
    ]
    prepared_sets.write(tmp_path, "several", features, examples, file_format=file_format)
    for key in ("labels", "objects/label", "attributes"):
        source = open_source("several", str(tmp_path), "train", None, key, True)
        assert list(_in_order(source)) == list(LABELS.values()), key
        with pytest.raises(
            UsageError, match=r"several labels an image, in attributes, labels, obj.*--multi-l"
        ):
            open_source("several", str(tmp_path), "train", label_key=key)
    source = open_source("several", str(tmp_path), "train", None, "main", True)
    assert list(_in_order(source)) == [("wet",)] * 6
    assert "several: each image has one label, main (--label-key)" in caplog.text
    assert int(open_source("several", str(tmp_path), "train").read(0)[1]) == 2


@pytest.fixture
def data(tmp_path):
    """Images 0 to 5, in this order, the last of which cannot be read."""
    images(tmp_path)
    (tmp_path / "5.jpg").write_bytes(b"\xff\xd8\xff nothing")
    write(tmp_path / "a.csv", ("id", "tags"), [(n, "|".join(of)) for n, of in LABELS.items()])
    source = open_source(str(tmp_path), "", "train", multi_label=True)
    order = np.argsort([source.name(i) for i in range(6)])
    source = dataclasses.replace(source, paths=source.paths[order], labels=source.labels[order])
    return ImageData(source, ("more", "wet", "red", "dim"))


VECTORS = {"0": [0, 0, 1, 0], "1": [0, 1, 1, 0], "2": [0] * 4, "3": [0, 1, 1, 1], "4": [0, 0, 0, 1]}


def test_evaluation_gives_vectors_in_the_order_of_the_model(data):
    ((_, shares, weights, unreadable),) = data.evaluation_batches(CONFIG)
    np.testing.assert_array_equal(shares, [*VECTORS.values(), [0] * 4])
    np.testing.assert_array_equal(weights, [1, 1, 1, 1, 1, 0])
    np.testing.assert_array_equal(unreadable, [-1] * 5 + [5])


def test_training_smooths_yes_and_no_and_mixes_vectors(data):
    config = dataclasses.replace(CONFIG, label_smoothing=0.2, mixup=0.0, cutmix=0.0)
    _, shares, unreadable = next(iter(data.training_batches(config)))
    # By the running numbers, an unreadable image's neighbor stands in for it.
    expected = {tuple(np.round(0.1 + 0.8 * np.array(vector), 3)) for vector in VECTORS.values()}
    assert {tuple(np.round(row.astype(float), 3)) for row in shares.numpy()} == expected
    assert sorted(unreadable.numpy())[-1] == 5
    config = dataclasses.replace(config, label_smoothing=0.0, mixup=1.0)
    _, mixed, _ = next(iter(data.training_batches(config)))
    _, plain, _ = next(iter(data.training_batches(dataclasses.replace(config, mixup=0.0))))
    plain, mixed = plain.numpy(), mixed.numpy()
    neighbor = plain[[1, 0, 3, 2, 5, 4]]
    between = (mixed - neighbor) * (plain - neighbor)  # The share of an image, where they differ.
    assert (between >= -1e-6).all()
    assert ((between > 0.01) & (between < 0.99)).any()
    np.testing.assert_allclose(mixed[plain == neighbor], plain[plain == neighbor], atol=1e-6)
