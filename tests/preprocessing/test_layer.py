import keras
import numpy as np
import pytest

from keras_mixers.preprocessing import (
    BY_IMAGENET,
    IMAGENET_MEAN,
    IMAGENET_STD,
    ImagePreprocessing,
    Preprocessing,
)

# One value of each channel, by hand: (x / 255 - mean) / std.
VALUES = [0.0, 100.3, 255.0]
SCALED = [-2.117904, -0.279762, 2.64]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("within_a_model", [False, True])
def test_floats_are_scaled_in_float32(policy, within_a_model):
    keras.config.set_dtype_policy(policy)
    layer = ImagePreprocessing(BY_IMAGENET)
    call = layer
    if within_a_model:
        inputs = keras.Input((1, 1, 3))
        call = keras.Model(inputs, layer(inputs))
        assert layer.output.dtype == "float32"
    result = keras.ops.convert_to_numpy(call(np.array([[[VALUES]]], "float32")))
    assert result.dtype == "float32"
    np.testing.assert_allclose(result[0, 0, 0], SCALED, atol=1e-6)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_pixels_of_whole_numbers(policy, dtype):
    keras.config.set_dtype_policy(policy)
    images = np.arange(2 * 8 * 16 * 3).reshape(2, 8, 16, 3) % 256
    expected = BY_IMAGENET.scale(images)
    layer = ImagePreprocessing(BY_IMAGENET)
    inputs = keras.Input((8, 16, 3))
    model = keras.Model(inputs, layer(inputs))
    for result in (layer(images.astype(dtype)), model.predict(images.astype(dtype), verbose=0)):
        result = keras.ops.convert_to_numpy(result)
        assert result.dtype == "float32"
        np.testing.assert_allclose(result, expected, atol=1e-6)


def test_images_that_are_scaled_already_pass():
    layer = ImagePreprocessing(BY_IMAGENET, scales=False)
    images = np.array([[[VALUES]]], "float32")
    np.testing.assert_array_equal(layer(images), images)


@pytest.mark.parametrize("scales", [True, False])
def test_saved_and_loaded_with_non_default_arguments(scales, rng, tmp_path):
    preprocessing = Preprocessing((6, 8), 0.9, "bicubic", IMAGENET_MEAN, IMAGENET_STD)
    architecture = {"family": "mine", "blocks": [["a", "b"], ["c"]], "depths": [1, 1]}
    layer = ImagePreprocessing(preprocessing, scales, architecture, name="first")
    inputs = keras.Input((6, 8, 3))
    model = keras.Model(inputs, layer(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    again = loaded.get_layer("first")
    assert type(again) is ImagePreprocessing
    assert again.preprocessing == preprocessing
    assert again.scales is scales
    assert again.architecture == architecture
    assert again.get_config() == layer.get_config()
    images = rng.integers(0, 256, (2, 6, 8, 3)).astype("float32")
    expected = preprocessing.scale(images) if scales else images
    np.testing.assert_allclose(loaded.predict(images, verbose=0), expected, atol=1e-6)


def test_has_no_weights():
    layer = ImagePreprocessing(BY_IMAGENET)
    layer(np.zeros((1, 2, 2, 3), "float32"))
    assert layer.weights == []


def test_images_of_other_channels_are_refused():
    layer = ImagePreprocessing(BY_IMAGENET)
    with pytest.raises(ValueError, match="`images` must have 3 channels"):
        layer(np.zeros((1, 2, 2, 1), "float32"))
