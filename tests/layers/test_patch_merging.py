import keras
import numpy as np
import pytest

from keras_mixers import layers


def test_order_of_the_concatenation():
    """Top left, top right, bottom left, bottom right."""
    layer = layers.PatchMerging(4)
    layer.build((None, 2, 4, 1))
    layer.set_weights([np.eye(4)])
    x = np.arange(8, dtype="float32").reshape(1, 2, 4, 1)
    assert np.array(layer(x)).tolist() == [[[[0, 1, 4, 5], [2, 3, 6, 7]]]]


def test_is_a_strided_convolution(rng):
    convolution = keras.layers.Conv2D(7, 2, strides=2, data_format="channels_last")
    x = rng.normal(size=(2, 6, 4, 3)).astype("float32")
    expected = convolution(x)
    kernel, _ = convolution.get_weights()
    bias = rng.normal(size=7)
    convolution.set_weights([kernel, bias])
    expected = convolution(x)
    merging = layers.PatchMerging(7, use_bias=True)
    merging.build(x.shape)
    merging.set_weights([kernel.reshape(4 * 3, 7), bias])
    np.testing.assert_allclose(merging(x), expected, atol=1e-5)


def test_doubles_the_channels_by_default():
    layer = layers.PatchMerging()
    assert layer(keras.Input((8, 6, 5))).shape == (None, 4, 3, 10)
    assert layer.count_params() == 20 * 10


def test_norm_sees_the_concatenation(rng):
    layer = layers.PatchMerging(2, norm=keras.layers.LayerNormalization(epsilon=0.5))
    x = rng.normal(size=(1, 2, 2, 3)).astype("float32")
    y = layer(x)
    flat = x.reshape(1, 1, 1, 12)
    variance = flat.var()
    kernel = layer.projection.get_weights()[0]
    np.testing.assert_allclose(
        y, (flat - flat.mean()) / np.sqrt(variance + 0.5) @ kernel, atol=1e-5
    )
    assert [w.shape for w in layer.norm.weights] == [(12,), (12,)]


def test_unknown_size(rng):
    inputs = keras.Input((None, None, 3))
    layer = layers.PatchMerging()
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape == (None, None, None, 6)
    x = rng.normal(size=(2, 4, 6, 3)).astype("float32")
    np.testing.assert_allclose(model.predict(x, verbose=0), layer(x), atol=1e-6)


@pytest.mark.parametrize("size", [(3, 4), (4, 3), (None, 5)])
def test_odd_sizes_are_an_error(size):
    height, width = size
    with pytest.raises(
        ValueError, match=f"multiples of 2. Received: height={height}, width={width}"
    ):
        layers.PatchMerging()(keras.Input((*size, 3)))


@pytest.mark.tensorflow
@pytest.mark.parametrize("size", [(3, 4), (4, 3)])
def test_odd_sizes_are_an_error_in_a_graph_of_unknown_size(size):
    """Never an image that spills into the next one of the batch."""
    import tensorflow as tf

    layer = layers.PatchMerging()
    layer.build((None, None, None, 3))
    run = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 3))])
    assert run(np.zeros((2, 4, 6, 3), "float32")).shape == (2, 2, 3, 6)
    with pytest.raises(tf.errors.InvalidArgumentError):
        run(np.zeros((2, *size, 3), "float32"))


def test_from_config_needs_no_more_than_init():
    assert layers.PatchMerging.from_config({"hidden_dim": 4}).norm is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(hidden_dim=-1), "Received: hidden_dim=-1"),
        (dict(hidden_dim=0), "Received: hidden_dim=0"),
        (dict(norm="layer"), "`norm` must be None or a Keras layer. Received: norm='layer'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        layers.PatchMerging(**arguments)
