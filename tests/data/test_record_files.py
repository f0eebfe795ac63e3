"""TFRecord files of others: names, keys, labels from 1, gzip, and sets of tensorflow-datasets."""

import gzip

import numpy as np
import pytest
import tensorflow as tf

from keras_mixers.data import record_files, records
from keras_mixers.data.dataset import ImageData
from keras_mixers.data.sources import lacks_validation, open_source, splits
from keras_mixers.errors import UsageError
from tests.helpers import prepared_sets
from tests.helpers.image_files import CLASSES, colorful, encode

pytestmark = pytest.mark.tensorflow


def feature(value):
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def write(path, labels=(0, 1, 2), image="image", label="label", options=None, **more):
    """Writes two images of each label; their colors tell the place of the label."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path), options) as writer:
        for number in range(2):
            for place, value in enumerate(labels):
                data = encode(colorful(place, number), quality=95)
                features = {image: data, label: value, "size": 3} | more
                features |= {"image/class/text": CLASSES[place].encode()} if more else {}
                features = {key: feature(value) for key, value in features.items()}
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())


def colors(source):
    """The class that the source says, for each color of an image."""
    data = ImageData(source)
    found = {}
    for index in range(len(source)):
        file, label = data._load(tf.constant(index, tf.int64))
        color = tf.io.decode_image(file).numpy().mean((0, 1)).argmax()
        found.setdefault(int(color), set()).add(source.classes[int(label)])
    return {color: names.pop() for color, names in sorted(found.items()) if len(names) == 1}


@pytest.mark.parametrize(
    "name",
    [
        "train-00000-of-00001",
        "train-00000-of-00001.tfrecord",
        "flowers_train.tfrec",
        "train/00-224x224-6.tfrec",
        "Training/a.tfrecords",
        "mnist-train.tfrecord-00000-of-00001",
        "all.record",
    ],
)
def test_any_usual_name(name, tmp_path):
    write(tmp_path / name)
    assert splits(str(tmp_path), "") == ("train",)
    assert lacks_validation(str(tmp_path))
    source = open_source(str(tmp_path), "", "train")
    assert colors(source) == {0: "0", 1: "1", 2: "2"}


@pytest.mark.parametrize("lines", [None, CLASSES, ("background", *CLASSES)])
def test_labels_from_one_with_a_background(lines, tmp_path, caplog):
    """As in the files of build_imagenet_data.py."""
    keys = {"image": "image/encoded", "label": "image/class/label", "image/format": b"JPEG"}
    for name in ("train-00000-of-00001", "validation-00000-of-00001"):
        write(tmp_path / name, (1, 2, 3), **keys)
    if lines:
        (tmp_path / "classes.txt").write_text("\n".join(lines) + "\n")
    for split in ("train", "validation"):
        source = open_source(str(tmp_path), "", split)
        assert source.classes == CLASSES
        assert colors(source) == dict(enumerate(CLASSES))
    assert (
        "images are taken from image/encoded, labels from image/class/label, which are 1 to 3 (0"
        in (caplog.text)
    )


def test_keys_are_found_or_given(tmp_path):
    write(tmp_path / "train.tfrecord", image="photo", label="kind")
    with pytest.raises(UsageError, match=r"--label-key must name what holds a whole .* kind,"):
        open_source(str(tmp_path), "", "train")
    source = open_source(str(tmp_path), "", "train", label_key="kind")
    assert colors(source) == {0: "0", 1: "1", 2: "2"}
    for keys, sentence in (
        ((None, "photo"), "--label-key must name .* Received: photo"),
        (("kind", "kind"), "--image-key must name .*: photo. Received: kind"),
        (("nothing", "kind"), "--image-key must name .* Received: nothing"),
    ):
        with pytest.raises(UsageError, match=sentence):
            open_source(str(tmp_path), "", "train", *keys)


def test_gzipped_files_are_unpacked_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(record_files, "_UNPACKED", tmp_path / "unpacked")
    write(tmp_path / "data" / "train-00000-of-00002.tfrecord", options="GZIP")
    write(tmp_path / "plain.tfrecord")
    packed = gzip.compress((tmp_path / "plain.tfrecord").read_bytes())
    (tmp_path / "data" / "train-00001-of-00002.tfrecord.gz").write_bytes(packed)
    for _ in range(2):
        source = open_source(str(tmp_path / "data"), "", "train")
        assert len(source) == 12
        assert colors(source) == {0: "0", 1: "1", 2: "2"}
    assert sum("is gzipped: unpacked to" in line for line in caplog.messages) == 2
    (tmp_path / "data" / "train-00001-of-00002.tfrecord.gz").write_bytes(packed[:-20])
    record_files._unpacked.cache_clear()
    with pytest.raises(UsageError, match="cannot be unpacked"):
        open_source(str(tmp_path / "data"), "", "train")


def test_what_is_no_example_is_refused(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "train.tfrecord")) as writer:
        writer.write(b"\xff\xff no protocol buffer")
    with pytest.raises(UsageError, match=r"must hold tf\.train\.Example"):
        open_source(str(tmp_path), "", "train")
    (tmp_path / "train.tfrecord").write_bytes(b"")
    with pytest.raises(UsageError, match="must hold images; they are empty"):
        open_source(str(tmp_path), "", "train")


@pytest.fixture(scope="module", params=["tfrecord", "array_record"])
def prepared(request, tmp_path_factory):
    """A set with two labels, which names one of them as its own."""
    import tensorflow_datasets as tfds

    if request.param == "array_record":
        pytest.importorskip("array_record")
    out = tmp_path_factory.mktemp(request.param)

    features = {
        "image": tfds.features.Image(encoding_format="jpeg"),
        "fine": tfds.features.ClassLabel(names=CLASSES),
        "coarse": tfds.features.ClassLabel(names=("large", "small")),
    }
    examples = [
        {"image": np.asarray(colorful(place, 0)), "fine": name, "coarse": int(name != "cow")}
        for place, name in enumerate(CLASSES)
    ]
    prepared_sets.write(
        *(out, "two_labels", features, examples),
        file_format=request.param,
        supervised_keys=("image", "fine"),
    )
    return out


def test_of_several_labels_the_sets_own_or_the_one_that_is_named(prepared, caplog):
    source = open_source("two_labels", str(prepared), "train")
    assert colors(source) == dict(enumerate(CLASSES))
    assert "two_labels: of coarse, fine, fine is taken (--label-key)" in caplog.text
    source = open_source("two_labels", str(prepared), "train", label_key="coarse")
    assert colors(source) == {0: "small", 1: "small", 2: "large"}
    with pytest.raises(UsageError, match="--label-key must name a class of two_labels: coarse, fi"):
        open_source("two_labels", str(prepared), "train", label_key="size")


def test_the_number_of_records_is_that_of_the_set(prepared):
    path = next(p for p in prepared.rglob("*train*") if p.is_file())
    if "array_record" in path.name:
        pytest.skip("an ArrayRecord file that is cut cannot be opened")
    whole = path.read_bytes()
    path.write_bytes(whole[: records._scan(str(path))[-1]])
    try:
        with pytest.raises(UsageError, match="must hold 3 records; it holds 2"):
            open_source("two_labels", str(prepared), "train")
    finally:
        path.write_bytes(whole)
