import keras
import numpy as np
import pytest

from keras_mixers import layers
from tests import reference


def test_agrees_with_numpy(rng):
    layer = layers.PatchEmbedding(5, 3, bias_initializer="fan_in_uniform", name="stem")
    x = rng.normal(size=(2, 6, 9, 4))
    got = layer(x.astype("float32"))
    weights = {w.path: np.array(w, "float64") for w in layer.weights}
    np.testing.assert_allclose(got, reference.patches(x, weights, "stem", 3), atol=1e-5)


@pytest.mark.parametrize("symbolic", [True, False])
def test_a_size_that_the_patch_does_not_divide_is_an_error(symbolic):
    x = keras.Input((32, 40, 3)) if symbolic else np.zeros((1, 32, 40, 3), "float32")
    match = r"multiples of `patch_size` = 16.*height=32, width=40"
    with pytest.raises(ValueError, match=match) as raised:
        layers.PatchEmbedding(5, 16)(x)
    assert "\n" not in str(raised.value)


def test_unknown_size():
    layer = layers.PatchEmbedding(5, 16)
    assert layer(keras.Input((None, 32, 3))).shape == (None, None, 2, 5)
    assert layer(np.zeros((1, 48, 32, 3), "float32")).shape == (1, 3, 2, 5)
    with pytest.raises(ValueError, match="height=40, width=32"):
        layer(np.zeros((1, 40, 32, 3), "float32"))


@pytest.mark.tensorflow
def test_indivisible_sizes_are_an_error_in_a_graph_of_unknown_size():
    """Never an image without its last rows."""
    import tensorflow as tf

    layer = layers.PatchEmbedding(5, 16)
    layer.build((None, None, None, 3))
    run = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 3))])
    assert run(np.zeros((2, 32, 16, 3), "float32")).shape == (2, 2, 1, 5)
    with pytest.raises(tf.errors.InvalidArgumentError):
        run(np.zeros((2, 40, 16, 3), "float32"))


def test_channels_first_setting_of_keras_changes_nothing():
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        assert layers.PatchEmbedding(5, 2)(keras.Input((4, 6, 3))).shape == (None, 2, 3, 5)
    finally:
        keras.config.set_image_data_format(before)


@pytest.mark.parametrize("argument", ["hidden_dim", "patch_size"])
def test_bad_arguments(argument):
    arguments = {"hidden_dim": 4, "patch_size": 4, argument: -1}
    with pytest.raises(ValueError, match=rf"`{argument}` must be .* Received: {argument}=-1"):
        layers.PatchEmbedding(**arguments)
