"""What is given as an image: arrays, tensors, files, images of Pillow, and lists of them."""

import keras
import numpy as np
import pytest
from PIL import Image

from keras_mixers.preprocessing import Preprocessing
from tests.helpers.image_files import encode


@pytest.mark.parametrize("kind", [np.asarray, keras.ops.convert_to_tensor])
@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (np.full((8, 9, 3), -0.5, "float32"), "pixels of 0 to 255.* from -0.5 to -0.5"),
        (np.full((8, 9, 3), np.nan, "float32"), "pixels of 0 to 255.* from nan to nan"),
        (np.full((8, 9, 3), np.inf, "float32"), "pixels of 0 to 255.* from inf to inf"),
        (np.zeros((0, 9, 3), "float32"), r"real numbers .* no pixel, shape=\(0, 9, 3\)"),
        (np.zeros((8, 9, 3), "complex64"), "real numbers .* dtype=complex64"),
        (np.zeros((8, 9, 3), "bool"), "real numbers .* dtype=bool"),
        (np.zeros((8, 9), "float32"), r"a last axis of 1\. Received: shape=\(8, 9\)"),
    ],
)
def test_what_is_no_pixels_is_refused_as_a_tensor_too(kind, image, sentence):
    with pytest.raises(ValueError, match=sentence):
        Preprocessing(4).pixels(kind(image))


@pytest.mark.parametrize("image", [None, 3, {"a": 1}, [[1, 2]]])
def test_what_is_no_image_is_refused(image):
    with pytest.raises(ValueError, match=r"`image` must be the path of an image file.* Received: "):
        Preprocessing(4).pixels(image)


def test_objects_are_no_pixels():
    with pytest.raises(ValueError, match=r"real numbers .* dtype=object"):
        Preprocessing(4).pixels(np.full((8, 9, 3), None))


def test_tensors_of_0_to_1_get_a_line(caplog):
    Preprocessing(4).pixels(keras.ops.full((8, 9, 3), 0.5))
    assert "the largest pixel is 0.5, of 0 to 255" in caplog.text


@pytest.mark.tensorflow
def test_scaled_images_of_a_pipeline_are_refused():
    import tensorflow as tf

    data = tf.data.Dataset.from_tensors(np.full((8, 9, 3), -0.5, "float32"))
    with pytest.raises(tf.errors.InvalidArgumentError, match="`image` must have pixels of 0 to 25"):
        next(iter(data.map(Preprocessing(4).pixels)))


def test_images_of_pillow_and_lists(rng, tmp_path):
    pixels = rng.integers(0, 256, (2, 9, 12, 3), "uint8")
    preprocessing = Preprocessing((4, 6), 1)
    expected = preprocessing.pixels(pixels)
    images = [Image.fromarray(one) for one in pixels]
    np.testing.assert_array_equal(preprocessing.pixels(images[0]), expected[0])
    images[1].save(tmp_path / "image.png")
    for one in (pixels[0], images[0].convert("RGBA")):
        found = preprocessing.pixels([one, tmp_path / "image.png"])
        np.testing.assert_array_equal(found, expected)
    assert preprocessing.pixels(images[0], channels=1).shape == (4, 6, 1)
    found = preprocessing.pixels(tuple(map(keras.ops.convert_to_tensor, pixels)))
    np.testing.assert_array_equal(found, expected)


def test_lists_are_of_single_images_of_one_size():
    sentence = "`image` as a list must hold single images"
    for images in ([], [np.zeros((1, 8, 8, 3), "uint8")]):
        with pytest.raises(ValueError, match=sentence):
            Preprocessing(4).pixels(images)
    with pytest.raises(ValueError, match=rf"{sentence}.* \(8, 8, 3\) and \(9, 9, 3\)"):
        Preprocessing(None, 1).pixels([np.zeros((n, n, 3), "uint8") for n in (8, 9)])


@pytest.mark.tensorflow
def test_a_batch_of_encoded_images(rng):
    import tensorflow as tf

    images = rng.integers(0, 256, (2, 8, 9, 3), "uint8")
    data = tf.constant([encode(image, "PNG") for image in images])
    preprocessing = Preprocessing((4, 5), 1)
    np.testing.assert_array_equal(preprocessing.pixels(data), preprocessing.pixels(images))
    with pytest.raises(ValueError, match="`image_size` must be given for a batch of encoded"):
        Preprocessing(None).pixels(data)
