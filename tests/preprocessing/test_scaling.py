import keras
import numpy as np
import pytest

import keras_mixers

# (family, value for black, value for white), by hand from the published mean and deviation.
EXPECTED = [
    ("mlp_mixer", [-1, -1, -1], [1, 1, 1]),
    ("s2_mlp", [-2.117904, -2.035714, -1.804444], [2.248908, 2.428571, 2.64]),
    ("smlpnet", [-2.117904, -2.035714, -1.804444], [2.248908, 2.428571, 2.64]),
]


@pytest.mark.parametrize(("family", "black", "white"), EXPECTED)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("kind", [np.asarray, keras.ops.convert_to_tensor])
def test_black_and_white(family, black, white, dtype, kind):
    images = np.zeros((2, 1, 1, 3), dtype)
    images[1] = 255
    result = getattr(keras_mixers, family).preprocess_input(kind(images))
    assert isinstance(result, type(kind(images)))
    assert keras.backend.standardize_dtype(result.dtype) == "float32"
    np.testing.assert_allclose(np.array(result)[:, 0, 0], [black, white], atol=1e-5)
    assert images.max() == 255


@pytest.mark.tensorflow
@pytest.mark.parametrize("family", ["mlp_mixer", "s2_mlp", "smlpnet"])
def test_inside_a_data_pipeline(family, rng):
    import tensorflow as tf

    images = rng.integers(0, 256, (4, 5, 5, 3)).astype("uint8")
    preprocess = getattr(keras_mixers, family).preprocess_input
    batch = next(iter(tf.data.Dataset.from_tensor_slices(images).map(preprocess).batch(4)))
    np.testing.assert_allclose(batch, preprocess(images), atol=1e-6)


def test_any_number_of_channels_where_all_are_treated_alike():
    images = np.full((1, 2, 2, 1), 127.5)
    assert not keras_mixers.mlp_mixer.preprocess_input(images).any()
    with pytest.raises(ValueError, match=r"`images` must have 3 channels .*shape=\(1, 2, 2, 1\)"):
        keras_mixers.smlpnet.preprocess_input(images)
