"""Layers on each position by itself, in the form that they have in training."""

import keras
import numpy as np
import pytest

from keras_mixers import layers
from tests import reference
from tests.layers import gradients


def test_dense_in_training_agrees_with_numpy(rng):
    x, upstream = (rng.normal(size=(2, 3, 4, size)).astype("float32") for size in (5, 6))
    layer = layers.PointwiseDense(6, activation="gelu", bias_initializer="normal")
    y, found = gradients.in_training(layer, x, upstream)
    arrays = [array.astype("float64") for array in (*layer.get_weights(), x)]
    kernel, bias, exact = arrays

    def formula():
        return reference.gelu(exact @ kernel + bias)

    np.testing.assert_allclose(keras.ops.convert_to_numpy(y), formula(), rtol=1e-4, atol=1e-5)
    for gradient, array in zip(found, arrays, strict=True):
        gradients.agrees_with_differences(
            gradient, lambda: (formula() * upstream).sum(), array, rng
        )


def test_dense_in_training_is_that_of_inference(rng):
    x = rng.normal(size=(2, 3, 4, 5)).astype("float32")
    for arguments in (dict(activation="relu"), dict(use_bias=False), dict(activation="gelu")):
        layer = layers.PointwiseDense(6, **arguments)
        outputs = [keras.ops.convert_to_numpy(layer(x, training=t)) for t in (True, False)]
        np.testing.assert_allclose(*outputs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["gelu", "relu"])
def test_activation_in_training_agrees_with_numpy(name, rng):
    x, upstream = (rng.normal(size=(2, 3, 4, 5)).astype("float32") for _ in range(2))
    y, (found,) = gradients.in_training(layers.Activation(name), x, upstream)
    exact = x.astype("float64")

    def formula():
        return reference.gelu(exact) if name == "gelu" else np.maximum(exact, 0)

    np.testing.assert_allclose(keras.ops.convert_to_numpy(y), formula(), rtol=1e-5, atol=1e-6)
    gradients.agrees_with_differences(found, lambda: (formula() * upstream).sum(), exact, rng)


@pytest.mark.tensorflow
def test_gelu_keeps_its_input_only():
    """What Keras' own keeps for the gradient, too, is as large again."""
    import tensorflow as tf

    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layers.Activation("gelu")(x, training=True)
        return tape.gradient(y, x)

    graph = gradient.get_concrete_function(tf.TensorSpec((2, 3, 4, 5))).graph.as_graph_def()
    kinds = [n.op for f in [graph.node, *(f.node_def for f in graph.library.function)] for n in f]
    assert kinds.count("Erf") + kinds.count("Erfc") == 2
