import keras
import numpy as np
import pytest

from keras_mixers import layers
from tests import reference
from tests.layers.gradients import agrees_with_differences, in_training


def weights_of(layer):
    return {f"m/{w.path.split('/', 1)[1]}": np.array(w, "float64") for w in layer.weights}


@pytest.mark.parametrize(("name", "gelu"), [("gelu", "gelu"), ("gelu_tanh", "gelu_tanh")])
@pytest.mark.parametrize("cls", ["TokenMixing", "ChannelMixing"])
def test_agrees_with_numpy(cls, name, gelu, rng):
    formula = {"TokenMixing": reference.token_mixing, "ChannelMixing": reference.channel_mixing}
    layer = getattr(layers, cls)(7, name, bias_initializer="fan_in_uniform", name="m")
    x = rng.normal(size=(2, 3, 4, 5)) * 2
    got = layer(x.astype("float32"))
    expected = formula[cls](x, weights_of(layer), "m", getattr(reference, gelu))
    np.testing.assert_allclose(got, expected, atol=3e-6)


@pytest.mark.parametrize("gelu", ["gelu", "gelu_tanh"])
@pytest.mark.parametrize("cls", ["TokenMixing", "ChannelMixing"])
def test_training_agrees_with_numpy_too(cls, gelu, rng):
    """Values and gradients, which training computes in another way than inference."""
    formula = {"TokenMixing": reference.token_mixing, "ChannelMixing": reference.channel_mixing}
    layer = getattr(layers, cls)(7, gelu, bias_initializer="fan_in_uniform", name="m")
    x, upstream = rng.normal(size=(2, 2, 3, 4, 5)) * 2
    values, gradients = in_training(layer, x.astype("float32"), upstream.astype("float32"))
    weights = weights_of(layer)

    def compute():
        return formula[cls](x, weights, "m", getattr(reference, gelu))

    np.testing.assert_allclose(values, compute(), atol=3e-6)
    for array, gradient in zip([*weights.values(), x], gradients, strict=True):
        agrees_with_differences(gradient, lambda: (compute() * upstream).sum(), array, rng)


def test_exact_and_tanh_gelu_differ(rng):
    """By about 5e-4 at most: the comparison with NumPy must be finer than that."""
    x = np.linspace(-4, 4, 1001)
    assert 1e-4 < np.abs(reference.gelu(x) - reference.gelu_tanh(x)).max() < 1e-3


def test_token_mixing_moves_no_value_between_channels(rng):
    layer = layers.TokenMixing(6)
    x = rng.normal(size=(1, 3, 4, 5)).astype("float32")
    changed = x.copy()
    changed[:, 1, 2, 3] += 1
    difference = np.abs(np.array(layer(changed)) - np.array(layer(x))).max(axis=(0, 1, 2))
    assert (difference > 0).tolist() == [False, False, False, True, False]


def test_channel_mixing_moves_no_value_between_positions(rng):
    layer = layers.ChannelMixing(6)
    x = rng.normal(size=(1, 2, 2, 5)).astype("float32")
    changed = x.copy()
    changed[:, 1, 0, 3] += 1
    difference = np.abs(np.array(layer(changed)) - np.array(layer(x))).max(axis=(0, 3))
    assert (difference > 0).tolist() == [[False, False], [True, False]]


def test_channel_mixing_takes_any_size():
    layer = layers.ChannelMixing(6)
    assert layer(keras.Input((None, None, 5))).shape == (None, None, None, 5)


@pytest.mark.parametrize("cls", [layers.TokenMixing, layers.ChannelMixing])
def test_dropout_after_each_dense_layer(cls):
    """With ones as weights, each output is a sum over kept hidden units, kept or dropped itself."""
    layer = cls(64, "linear", 0.5, kernel_initializer="ones", seed=1)
    x = np.ones((4, 8, 8, 64), "float32")
    y = np.array(layer(x, training=True))
    assert 0.45 < (y == 0).mean() < 0.55  # the second dropout
    hidden_kept = y[y != 0] / (2 * 2 * 64 * 64)  # share of the 64 hidden units
    assert 0.2 < hidden_kept.min() < 0.48 < 0.52 < hidden_kept.max() < 0.8  # the first
    assert abs(y.mean() / (64 * 64) - 1) < 0.05  # the expectation is kept
    np.testing.assert_allclose(layer(x), 64 * 64, rtol=1e-6)  # nothing at inference


@pytest.mark.parametrize("cls", [layers.TokenMixing, layers.AxialProjection])
def test_unknown_size_is_an_error_that_names_the_way_out(cls):
    layer = cls(6) if cls is layers.TokenMixing else cls()
    with pytest.raises(ValueError, match=r"height and width must be known.*SpatialShift2D") as e:
        layer(keras.Input((None, 4, 5)))
    assert "(None, None, 4, 5)" in str(e.value)


@pytest.mark.parametrize("cls", [layers.TokenMixing, layers.AxialProjection])
def test_another_grid_is_an_error(cls, rng):
    """Also one of as many positions, which would multiply without complaint and mean nothing."""
    layer = cls(6) if cls is layers.TokenMixing else cls()
    layer(rng.normal(size=(1, 4, 3, 5)).astype("float32"))
    with pytest.raises(ValueError, match=r"built for a grid of 4x3 .*\(1, 3, 4, 5\)"):
        layer(rng.normal(size=(1, 3, 4, 5)).astype("float32"))


@pytest.mark.tensorflow
def test_a_built_layer_asks_for_data_of_static_size():
    import tensorflow as tf

    layer = layers.TokenMixing(6)
    layer.build((None, 4, 3, 5))
    run = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 5))])
    with pytest.raises(ValueError, match=r"built for a grid of 4x3 .* give the data a static size"):
        run(np.zeros((1, 4, 3, 5), "float32"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(hidden_dim=0), "`hidden_dim` must be a positive integer. Received: hidden_dim=0"),
        (dict(hidden_dim=2.5), "Received: hidden_dim=2.5"),
        (dict(hidden_dim=True), "Received: hidden_dim=True"),
        (dict(hidden_dim=4, dropout_rate=1), "`dropout_rate` must be .* Received: dropout_rate=1"),
        (dict(hidden_dim=4, activation="gelo"), "gelo"),
        (dict(hidden_dim=4, kernel_initializer="lecum"), "lecum"),
    ],
)
@pytest.mark.parametrize("cls", [layers.TokenMixing, layers.ChannelMixing])
def test_bad_arguments(cls, arguments, message):
    with pytest.raises(ValueError, match=message):
        cls(**arguments)


@pytest.mark.parametrize("shape", [(4, 5), (4, 4, None)])
def test_no_feature_map_is_an_error(shape):
    with pytest.raises(ValueError, match=r"ChannelMixing needs a feature map .*Received: shape="):
        layers.ChannelMixing(4)(keras.Input(shape))
