import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

from keras_mixers.preprocessing import (
    BY_IMAGENET,
    IMAGENET_MEAN,
    IMAGENET_STD,
    TO_MINUS_ONE_ONE,
    TO_ZERO_ONE,
    Preprocessing,
)
from tests.helpers.image_files import encode
from tests.helpers.modules import without_tensorflow

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Black and white, by hand from the published mean and std.
EXPECTED = [
    (TO_MINUS_ONE_ONE, [-1, -1, -1], [1, 1, 1]),
    (TO_ZERO_ONE, [0, 0, 0], [1, 1, 1]),
    (BY_IMAGENET, [-2.117904, -2.035714, -1.804444], [2.248908, 2.428571, 2.64]),
]


@pytest.mark.parametrize(("preprocessing", "black", "white"), EXPECTED)
@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64"])
@pytest.mark.parametrize("kind", [np.asarray, keras.ops.convert_to_tensor])
def test_black_and_white(preprocessing, black, white, dtype, kind):
    images = np.zeros((2, 1, 1, 3), dtype)
    images[1] = 255
    result = preprocessing.scale(kind(images))
    assert isinstance(result, type(kind(images)))
    assert keras.backend.standardize_dtype(result.dtype) == "float32"
    np.testing.assert_allclose(np.array(result)[:, 0, 0], [black, white], atol=1e-6)
    assert images.max() == 255


@pytest.mark.parametrize("preprocessing", [TO_MINUS_ONE_ONE, TO_ZERO_ONE, BY_IMAGENET])
def test_factors_are_those_of_scaling(preprocessing, rng):
    images = rng.integers(0, 256, (2, 3, 3, 3), "uint8")
    scale, offset = preprocessing.factors(3)
    assert (scale.dtype, offset.dtype) == ("float64", "float64")
    assert (scale.shape, offset.shape) == ((3,), (3,))
    np.testing.assert_allclose(images * scale + offset, preprocessing.scale(images), atol=1e-6)


def test_factors_by_hand():
    scale, offset = Preprocessing(mean=0.25, std=0.5).factors(1)
    np.testing.assert_allclose([scale[0], offset[0]], [2 / 255, -0.5], rtol=1e-12)


def test_the_published_numbers():
    assert IMAGENET_MEAN == (0.485, 0.456, 0.406)
    assert IMAGENET_STD == (0.229, 0.224, 0.225)
    assert Preprocessing(224, 0.875, "bicubic", IMAGENET_MEAN, IMAGENET_STD) == BY_IMAGENET
    assert Preprocessing() == TO_MINUS_ONE_ONE
    assert dataclasses.asdict(Preprocessing()) == {
        "image_size": 224,
        "crop": 0.875,
        "interpolation": "bilinear",
        "mean": (0.5,),
        "std": (0.5,),
        "crop_mode": "center",
        "value_range": None,
    }


def test_equal_where_all_numbers_are():
    assert Preprocessing(mean=0.5) == Preprocessing(mean=(0.5,)) == Preprocessing(mean=[0.5])
    assert Preprocessing((8, 8)) == Preprocessing([8, 8]) == Preprocessing(8)
    assert hash(Preprocessing([8, 8])) == hash(Preprocessing(8))
    assert Preprocessing(crop=1) == Preprocessing(crop=1.0)
    changes = [
        dict(image_size=225),
        dict(image_size=None),
        dict(crop=0.9),
        dict(interpolation="bicubic"),
        dict(mean=0.4),
        dict(std=0.4),
    ]
    assert all(Preprocessing(**change) != Preprocessing() for change in changes)


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(),
        Preprocessing(None, 1, "bicubic", IMAGENET_MEAN, IMAGENET_STD),
        Preprocessing((48, 64), 0.9, "bilinear", np.array([0.1, 0.2]), np.array([0.3, 0.4])),
    ],
)
def test_config_through_json(preprocessing):
    config = json.loads(json.dumps(preprocessing.get_config()))
    assert Preprocessing.from_config(config) == preprocessing
    assert Preprocessing.from_config(preprocessing.get_config()) == preprocessing


def test_printed():
    assert str(BY_IMAGENET) == (
        "224 x 224, central crop 0.875, bicubic, mean 0.485 0.456 0.406, std 0.229 0.224 0.225"
    )
    assert str(Preprocessing((48, 64), 1)) == (
        "48 x 64, central crop 1, bilinear, mean 0.5, std 0.5"
    )
    assert str(Preprocessing(None)) == "any x any, central crop 0.875, bilinear, mean 0.5, std 0.5"


def test_other_channels_get_the_average():
    gray = BY_IMAGENET.for_channels(1)
    assert gray.mean == pytest.approx((0.449,))
    assert gray.std == pytest.approx((0.226,))
    assert (gray.image_size, gray.crop, gray.interpolation) == (224, 0.875, "bicubic")
    assert BY_IMAGENET.for_channels(4).mean == gray.mean
    assert BY_IMAGENET.for_channels(6).mean == IMAGENET_MEAN * 2
    assert BY_IMAGENET.for_channels(6).std == IMAGENET_STD * 2
    assert BY_IMAGENET.for_channels(3) is BY_IMAGENET
    assert TO_ZERO_ONE.for_channels(4) is TO_ZERO_ONE


def numpy_crop(image, image_size, crop):
    """The largest window of the aspect ratio of `image_size`, times `crop`, in the middle."""
    height, width = image.shape[:2]
    ratio = image_size[1] / image_size[0]
    rows, columns = (height, height * ratio) if width > height * ratio else (width / ratio, width)
    rows, columns = round(rows * crop), round(columns * crop)
    top, left = (height - rows) // 2, (width - columns) // 2
    return image[top : top + rows, left : left + columns]


CROPS = [
    # Image, result, crop, and by hand the size of the crop.
    ((30, 41), (12, 12), 0.9, (27, 27)),
    ((61, 33), (16, 16), 0.75, (25, 25)),
    ((50, 40), (10, 20), 1.0, (20, 40)),
    ((37, 90), (24, 16), 0.875, (32, 22)),
    ((9, 7), (20, 12), 1.0, (9, 5)),
]


@pytest.mark.parametrize(("shape", "size", "crop", "cut"), CROPS)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_central_crop_and_resizing(shape, size, crop, cut, interpolation, rng):
    """The crop in NumPy; resized by Pillow, whose filters are the antialiased ones."""
    image = rng.integers(0, 256, (*shape, 3), "uint8")
    cropped = numpy_crop(image, size, crop)
    assert cropped.shape[:2] == cut
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    channels = [Image.fromarray(cropped[..., i].astype("float32")) for i in range(3)]
    resized = [channel.resize(size[::-1], filters[interpolation]) for channel in channels]
    expected = np.stack([np.asarray(channel) for channel in resized], axis=-1)
    found = Preprocessing(size, crop, interpolation).pixels(image)
    assert (found.dtype, found.shape) == ("uint8", (*size, 3))
    np.testing.assert_allclose(found, np.clip(expected, 0, 255), atol=0.501)


def test_bicubic_is_not_bilinear(rng):
    image = rng.integers(0, 256, (20, 20, 3), "uint8")
    found = [Preprocessing(9, 1, name).pixels(image) for name in ("bilinear", "bicubic")]
    assert np.abs(np.subtract(*found, dtype=int)).mean() > 3


def test_any_size_is_cropped_only(rng):
    image = rng.integers(0, 256, (20, 31, 3), "uint8")
    found = Preprocessing(None, 0.5).pixels(image)
    np.testing.assert_array_equal(found, image[5:15, 10:20])


def test_a_batch(rng):
    images = rng.integers(0, 256, (2, 9, 12, 3), "uint8")
    preprocessing = Preprocessing((4, 6), 0.9)
    for kind in (np.asarray, keras.ops.convert_to_tensor):
        found = preprocessing(kind(images))
        assert found.shape == (2, 4, 6, 3)
        np.testing.assert_allclose(found[1], preprocessing(images[1]), atol=1e-6)


@pytest.mark.tensorflow
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(16, 16), (12, 20)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_all_ways_to_give_an_image_agree(kind, size, interpolation, rng, tmp_path):
    import tensorflow as tf

    smooth = rng.integers(0, 256, (7, 9, 3), "uint8")
    image = Image.fromarray(smooth).resize((53, 37), Image.Resampling.BICUBIC)
    data = encode(image, kind)
    path = tmp_path / f"image.{kind.lower()}"
    path.write_bytes(data)
    decoded = tf.io.decode_image(data, channels=3)
    preprocessing = Preprocessing(size, 0.9, interpolation, IMAGENET_MEAN, IMAGENET_STD)
    expected = preprocessing(decoded.numpy())
    assert (expected.dtype, expected.shape) == ("float32", (*size, 3))
    assert np.ptp(expected) > 2
    (piped,) = tf.data.Dataset.from_tensors(data).map(preprocessing)
    (of_pixels,) = tf.data.Dataset.from_tensors(decoded).map(preprocessing)
    # A window of a JPEG is decoded by itself: colors at its edge may be two values off.
    most = 2.01 / 255 / min(IMAGENET_STD) if kind == "JPEG" else 1e-6
    for found, allowed in (
        (preprocessing(path), most),
        (preprocessing(str(path)), most),
        (preprocessing(data), most),
        (preprocessing(tf.constant(data)), most),
        (piped, most),
        (preprocessing(decoded), 1e-6),
        (of_pixels, 1e-6),
    ):
        np.testing.assert_allclose(found, expected, atol=allowed, rtol=0)
    for found in (preprocessing(path), preprocessing(data), preprocessing(decoded.numpy())):
        assert isinstance(found, np.ndarray)
    for found in (preprocessing(tf.constant(data)), preprocessing(decoded)):
        assert isinstance(found, tf.Tensor)


def test_a_path_may_begin_at_home(rng, tmp_path, monkeypatch):
    image = rng.integers(0, 256, (8, 8, 3), "uint8")
    (tmp_path / "image.png").write_bytes(encode(image, "PNG"))
    monkeypatch.setenv("HOME", str(tmp_path))
    found = Preprocessing(8, 1).pixels("~/image.png")
    np.testing.assert_array_equal(found, image)


def test_files_in_gray(rng):
    image = rng.integers(0, 256, (8, 8, 3), "uint8")
    found = Preprocessing(8, 1).pixels(encode(image, "PNG"), channels=1)
    assert found.shape == (8, 8, 1)
    np.testing.assert_allclose(found[..., 0], image @ [0.2989, 0.587, 0.114], atol=1)


ERRORS = [
    (dict(image_size=0), "`image_size` must be a whole number of pixels.* Received: image_size=0$"),
    (dict(image_size=2.5), "`image_size` must be"),
    (dict(image_size=True), "`image_size` must be"),
    (dict(image_size="224"), "`image_size` must be"),
    (dict(image_size=(8, 8, 3)), "`image_size` must be"),
    (dict(image_size=(8, None)), "`image_size` must be"),
    (dict(image_size=()), "`image_size` must be"),
    (dict(crop=0), "`crop` must be greater than 0 and at most 1. Received: crop=0$"),
    (dict(crop=1.1), "`crop` must be"),
    (dict(crop=True), "`crop` must be .* Received: crop=True$"),
    (dict(crop="0.9"), "`crop` must be .* Received: crop='0.9'$"),
    (dict(interpolation="nearest"), "`interpolation` must be one of bilinear, bicubic. Received: "),
    (dict(mean="imagenet"), "`mean` must be a number, or one per channel. .* mean='imagenet'$"),
    (dict(mean=()), "`mean` must be a number"),
    (dict(mean=float("nan")), "`mean` must be a number"),
    (dict(std=None), "`std` must be a number, or one per channel. Received: std=None$"),
    (dict(std=0), r"`std` must be greater than 0. Received: std=\(0.0,\)$"),
    (dict(mean=127.5, std=127.5), "`mean` must be at most 1 .* by 255. Received: mean=.127.5,."),
    (dict(mean=(103.939, 116.779, 123.68), std=(1, 1, 1)), "`mean` must be at most 1"),
    (dict(mean=(0.4, 0.4, 0.4), std=(58.395, 57.12, 57.375)), "`mean` .* `std` at most 10"),
    (dict(mean=(0.1, 0.2)), r"must have as many numbers.* mean=\(0.1, 0.2\), std=\(0.5,\)$"),
]


@pytest.mark.parametrize(("arguments", "message"), ERRORS)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing(**arguments)


@pytest.mark.parametrize(("mean", "std"), [(0, 1 / 255), (1, 2), (-1, 0.5), (0.5, 1)])
def test_unusual_ranges_are_not_taken_for_those_of_pixels(mean, std):
    assert Preprocessing(mean=mean, std=std).factors(1)[0] == pytest.approx(1 / 255 / std)


def test_images_of_other_channels_are_refused():
    message = "`images` must have 3 channels, as `mean` and `std` have. Received: 1 channels$"
    with pytest.raises(ValueError, match=message):
        BY_IMAGENET.scale(np.zeros((1, 2, 2, 1)))
    with pytest.raises(ValueError, match=message):
        BY_IMAGENET.factors(1)
    assert not TO_MINUS_ONE_ONE.scale(np.full((1, 2, 2, 1), 127.5)).any()


def test_scaling_arrays_needs_neither_keras_nor_tensorflow():
    code = (
        "import sys, numpy as np; from keras_mixers import preprocessing as p; "
        "q = p.Preprocessing.from_config(p.BY_IMAGENET.get_config()); str(q); q.factors(3); "
        "q.for_channels(1).scale(np.zeros((2, 2, 1), 'uint8')); "
        "assert q.scale(np.full((2, 2, 3), 255))[0, 0, 2].round(2) == 2.64; "
        "assert not {'keras', 'tensorflow', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env={**os.environ})


@pytest.mark.parametrize(
    ("mean", "std", "alike"),
    [
        (0.5, 0.5, True),
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), True),
        (0.5, 0.25, False),
        (0.0, 1.0, False),
    ],
)
def test_scales_like(mean, std, alike):
    assert Preprocessing(mean=0.5, std=0.5).scales_like(Preprocessing(mean=mean, std=std)) == alike
    assert Preprocessing(mean=mean, std=std).scales_like(Preprocessing(mean=0.5, std=0.5)) == alike


def test_other_numbers_of_channels_scale_otherwise():
    three, four = (Preprocessing(mean=(0.5,) * n, std=(0.5,) * n) for n in (3, 4))
    assert not three.scales_like(four)


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (np.zeros((8, 9), "uint8"), r"a last axis of 1\. Received: shape=\(8, 9\)"),
        (np.full((8, 9, 3), 1000, "uint16"), "pixels of 0 to 255.* from 1000 to 1000"),
        (np.full((8, 9, 3), -0.5), "pixels of 0 to 255.* from -0.5 to -0.5"),
    ],
)
def test_what_is_no_pixels_is_refused(image, sentence):
    with pytest.raises(ValueError, match=sentence):
        Preprocessing(4)(image)


def test_images_of_0_to_1_get_a_line(caplog):
    Preprocessing(4)(np.full((8, 9, 3), 0.5))
    assert "the largest pixel is 0.5, of 0 to 255" in caplog.text


@pytest.mark.tensorflow
def test_a_file_that_is_no_image_is_one_sentence(tmp_path):
    (tmp_path / "notes.jpg").write_text("no image")
    with pytest.raises(ValueError, match="`image` must be an image file that is whole"):
        Preprocessing(4)(tmp_path / "notes.jpg")


def test_numbers_of_numpy():
    given = Preprocessing((np.int64(8), np.int32(6)), np.float32(0.5))
    assert given == Preprocessing((8, 6), 0.5)
    assert json.dumps(given.get_config())
    assert type(Preprocessing(np.int64(224)).image_size) is int


def test_deep_images_of_pillow_are_those_of_their_files(tmp_path):
    """Pillow itself cuts what is above 255."""
    gray = np.linspace(0, 65535, 64 * 64).reshape(64, 64)
    Image.fromarray(gray.astype("uint16")).save(tmp_path / "gray.png")
    preprocessing = Preprocessing(16)
    expected = preprocessing.pixels(tmp_path / "gray.png")
    assert np.ptp(expected) > 200
    with Image.open(tmp_path / "gray.png") as opened:
        np.testing.assert_allclose(preprocessing.pixels(opened).astype(int), expected, atol=1)
    deep = Image.fromarray((gray * 9000 // 65535).astype("int32"))
    with pytest.raises(ValueError, match="numbers from 0 to 9000"):
        preprocessing.pixels(deep)
    of_range = dataclasses.replace(preprocessing, value_range=(0, 9000))
    np.testing.assert_allclose(of_range.pixels(deep).astype(int), expected, atol=1)
    real = Image.fromarray((gray / 65535).astype("float32"))
    np.testing.assert_allclose(preprocessing.pixels(real).astype(int), expected, atol=1)


def test_deep_images_of_either_byte_order_and_without_tensorflow(tmp_path, monkeypatch):
    gray = np.linspace(0, 65535, 64 * 64).reshape(64, 64)
    preprocessing = Preprocessing(16)
    expected = preprocessing.pixels(Image.fromarray(gray.astype("uint16")))
    big = Image.frombytes("I;16B", (64, 64), gray.astype(">u2").tobytes())
    np.testing.assert_array_equal(preprocessing.pixels(big), expected)
    Image.fromarray((gray * 9000 // 65535).astype("int32")).save(tmp_path / "deep.tiff")
    without_tensorflow(monkeypatch)
    with pytest.raises(ValueError, match="numbers from 0 to 9000"):
        preprocessing.pixels(tmp_path / "deep.tiff")
