"""Images that are stored turned are seen as they are shown, by each way of reading them."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

import keras_mixers
from keras_mixers.data.dataset import ImageData
from keras_mixers.data.sources import open_source
from keras_mixers.preprocessing import Preprocessing, cropping, orientation
from keras_mixers.training.config import TrainingConfig
from tests.helpers.modules import without_tensorflow

pytestmark = pytest.mark.tensorflow

ALL = range(1, 9)
ORDERS = {"II": "<", "MM": ">"}
SIZE = (24, 40)  # Width and height.


def exif(turn, order="MM", kind=3, tag=0x0112):
    """A block of Exif with a tag before the orientation and one behind it."""
    sign = ORDERS[order]
    entries = [(0x010E, 2, b"abc\0"), (tag, kind, None), (0x0128, 3, None)]
    text = order.encode() + struct.pack(f"{sign}HIH", 42, 8, len(entries))
    for number, form, value in entries:
        short = struct.pack(f"{sign}{'I' if form == 4 else 'HH'}", *[turn, 0][: 1 + (form != 4)])
        text += struct.pack(f"{sign}HHI", number, form, 4 if value else 1) + (value or short)
    return text + b"\0\0\0\0"


def jpeg(image, segments=()):
    """A JPEG file with `(marker, data)` before all others."""
    memory = io.BytesIO()
    image.save(memory, "JPEG", quality=95, subsampling=0)
    data = memory.getvalue()
    inserted = b"".join(
        struct.pack(">HH", marker, 2 + len(text)) + text for marker, text in segments
    )
    return data[:2] + inserted + data[2:]


def png(image, turn=None):
    memory = io.BytesIO()
    image.save(memory, "PNG", **({} if turn is None else {"exif": exif(turn)}))
    return memory.getvalue()


def upright(data):
    """The image that Pillow shows."""
    return ImageOps.exif_transpose(Image.open(io.BytesIO(data)))


def whole(data):
    """The image that we show, all of it."""
    return cropping.decode_central(
        tf.constant(data), Preprocessing(None, crop_mode="squash")
    ).numpy()


def assert_near(got, expected):
    """Two decoders of JPEG differ a little; images that are turned in different ways do not."""
    difference = np.abs(got.astype(int) - expected)
    assert difference.max() < 20
    assert difference.mean() < 2.5


def exif_segment(*arguments):
    return (0xFFE1, b"Exif\0\0" + exif(*arguments))


@pytest.fixture
def image(rng):
    """Smooth, so that a JPEG holds it well, and different in every corner."""
    small = Image.fromarray(rng.integers(0, 256, (4, 5, 3), "uint8"))
    return small.resize(SIZE, Image.Resampling.BICUBIC)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("turn", ALL)
def test_all_orientations_of_jpeg_and_png_are_those_of_pillow(turn, order, image):
    for data in (jpeg(image, [exif_segment(turn, order)]), png(image, turn)):
        expected = np.asarray(upright(data))
        assert expected.shape == ((24, 40, 3) if turn > 4 else (40, 24, 3))
        got = whole(data)
        assert got.shape == expected.shape
        assert_near(got, expected)
        assert int(orientation.of(tf.constant(data))) == turn


@pytest.mark.parametrize("turn", ALL)
def test_a_crop_is_that_of_the_shown_image(turn, image):
    """Central and random ones, of a square and a wide model."""
    stored = png(image, turn)
    shown = png(upright(stored))
    for size in ((12, 12), (8, 20)):
        preprocessing = Preprocessing(size, crop=0.8)
        got, expected = (preprocessing.pixels(data) for data in (stored, shown))
        np.testing.assert_array_equal(got, expected)
        for seed in ((0, 1), (2, 3)):
            got, expected = (
                cropping.random_crop(tf.constant(data), seed, preprocessing, 0.2)
                for data in (stored, shown)
            )
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("turn", [3, 6])
def test_a_crop_of_a_jpeg_decodes_its_part_of_the_stored_image(turn, image):
    data = jpeg(image, [exif_segment(turn)])
    shown = whole(data)
    got = Preprocessing(None, crop=0.5).pixels(data)
    height, width, _ = shown.shape
    side = min(height, width) // 2
    top, left = (height - side) // 2, (width - side) // 2
    expected = shown[top : top + side, left : left + side]
    assert_near(got, expected)


OTHERS = {
    "behind a comment": [(0xFFFE, b"a comment"), exif_segment(6)],
    "behind an ICC profile and XMP": [
        (0xFFE2, b"ICC_PROFILE\0" + bytes(70)),
        (0xFFE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"),
        exif_segment(6),
    ],
    "as a number of four bytes": [exif_segment(6, "II", 4)],
    "of four bytes, big-endian": [exif_segment(6, "MM", 4)],
}


@pytest.mark.parametrize("segments", OTHERS.values(), ids=OTHERS)
def test_it_is_found_wherever_it_stands(segments, image):
    assert int(orientation.of(tf.constant(jpeg(image, segments)))) == 6


NONE = {
    "no Exif": [],
    "another tag": [exif_segment(6, "MM", 3, 0x0113)],
    "0": [exif_segment(0)],
    "9": [exif_segment(9)],
    "another order": [(0xFFE1, b"Exif\0\0XX" + exif(6)[2:])],
    "a directory behind the end": [(0xFFE1, b"Exif\0\0MM\0*\xff\xff\xff\xff")],
    "an empty block": [(0xFFE1, b"Exif\0\0")],
    "entries that are missing": [(0xFFE1, b"Exif\0\0" + exif(6)[:10])],
}


@pytest.mark.parametrize("segments", NONE.values(), ids=NONE)
def test_where_there_is_none_the_image_is_shown_as_stored(segments, image):
    assert int(orientation.of(tf.constant(jpeg(image, segments)))) == 1


def test_damage_is_no_error(image, rng):
    """In the Exif block, the lengths of segments, and where the file is cut."""
    find = tf.function(orientation.of, input_signature=[tf.TensorSpec((), tf.string)])
    for good in (jpeg(image, [exif_segment(6, "II")]), png(image, 6)):
        for _ in range(150):
            data = bytearray(good)
            for place in rng.integers(2, 140, 3):
                data[place % len(data)] = rng.integers(0, 256)
            assert 1 <= int(find(bytes(data))) <= 8
        for length in (0, 1, 2, 5, 11, 23, 25, 30, 35, 40, 60, 90):
            assert 1 <= int(find(good[:length])) <= 8


def test_an_image_of_pillow_and_one_without_tensorflow(image, monkeypatch):
    data = jpeg(image, [exif_segment(8)])
    preprocessing = Preprocessing((20, 12))
    expected = preprocessing.pixels(data)
    opened = Image.open(io.BytesIO(data))
    assert_near(preprocessing.pixels(opened), expected)
    # What is upright is not turned again.
    assert_near(preprocessing.pixels(upright(data)), expected)
    without_tensorflow(monkeypatch)
    assert_near(preprocessing.pixels(data), expected)


def test_training_and_evaluation_see_what_is_shown(tmp_path, image):
    """The same batches of files that are stored turned and of upright ones."""
    seen = []
    for name in ("stored", "shown"):
        for number, turn in enumerate((1, 3, 6, 8)):
            file = tmp_path / name / "train" / "ab"[number % 2] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            data = png(image, turn)
            if name == "shown":
                data = png(upright(data))
            file.write_bytes(data)
        config = TrainingConfig(image_size=16, batch_size=4, mixup=0, randaugment="none")
        images = ImageData(open_source(str(tmp_path / name), "", "train"))
        (batch,) = images.training_batches(config).take(1)
        (evaluated,) = images.evaluation_batches(config)
        seen.append([batch[0], evaluated[0], images.image(2, config)])
    for got, expected in zip(*seen, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_saved_model_turns_what_it_classifies(tmp_path, image, rng):
    from keras_mixers.evaluation.saved_model import LoadedSavedModel
    from keras_mixers.export.exporter import export
    from keras_mixers.export.saved_model import SavedModel
    from tests import reference

    model = keras_mixers.MLPMixer(
        **dict(input_shape=(16, 16, 3), patch_size=8, hidden_dim=8, num_blocks=1, classes=4),
        **dict(tokens_mlp_dim=4, channels_mlp_dim=4),
    )
    reference.randomize(model, rng)
    export(model, tmp_path / "m", SavedModel())
    loaded = LoadedSavedModel(tmp_path / "m")
    stored = jpeg(image, [exif_segment(6)])
    _, (got, plain) = loaded.classify([stored, jpeg(image)])
    expected = np.sort(model(model.preprocess(stored)[None])[0])[::-1]
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert np.abs(got - plain).max() > 1e-3
