import keras
import numpy as np
import pytest

from keras_mixers import layers
from tests.layers.gradients import agrees_with_differences, in_training


def normalized(x, gamma, beta, epsilon):
    deviation = np.sqrt(x.var(axis=-1, keepdims=True) + epsilon)
    return (x - x.mean(axis=-1, keepdims=True)) / deviation * gamma + beta


def test_training_agrees_with_numpy(rng):
    """Values and gradients, which training computes in another way than Keras."""
    initializer = keras.initializers.RandomNormal(1, 0.5, seed=1)
    layer = layers.LayerNormalization(
        0.01, gamma_initializer=initializer, beta_initializer=initializer
    )
    x, upstream = rng.normal(3, 0.5, size=(2, 2, 3, 4, 5))
    values, gradients = in_training(layer, x.astype("float32"), upstream.astype("float32"))
    weights = [np.array(weight, "float64") for weight in layer.weights]
    np.testing.assert_allclose(values, normalized(x, *weights, 0.01), atol=5e-6)
    np.testing.assert_allclose(layer(x.astype("float32")), values, atol=5e-6)
    for array, gradient in zip([*weights, x], gradients, strict=True):
        agrees_with_differences(
            gradient, lambda: (normalized(x, *weights, 0.01) * upstream).sum(), array, rng
        )


@pytest.mark.parametrize("arguments", [{"axis": 1}, {"axis": (1, 2, 3)}, {"center": False}])
def test_what_it_leaves_to_keras(arguments, rng):
    x = rng.normal(size=(2, 3, 4, 5)).astype("float32")
    mine, other = (
        layers.LayerNormalization(**arguments),
        keras.layers.LayerNormalization(**arguments),
    )
    other.epsilon = mine.epsilon
    np.testing.assert_array_equal(mine(x, training=True), other(x))


@pytest.mark.parametrize("training", [True, False])
def test_half_precision_is_normalized_in_float32(training, rng):
    x = rng.normal(300, 1, size=(2, 3, 64)).astype("float16")
    values = layers.LayerNormalization(dtype="mixed_float16")(x, training=training)
    assert keras.backend.standardize_dtype(values.dtype) == "float16"
    np.testing.assert_allclose(values, normalized(x.astype("float64"), 1, 0, 1e-6), atol=5e-3)
