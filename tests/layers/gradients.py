"""Gradients of a layer in training, on either backend, beside differences of a formula."""

import keras
import numpy as np
import pytest


def in_training(layer, x, upstream):
    """Returns the output of a layer in training and the gradients of the weights and the input."""
    layer.build(x.shape)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        x = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        sources = [*[weight.value for weight in layer.trainable_weights], x]
        return y, tape.gradient(y, sources, upstream)
    import jax

    def call(values, x):
        return layer.stateless_call(values, [], x, training=True)[0]

    y, pull = jax.vjp(call, [weight.value for weight in layer.trainable_weights], x)
    weights, image = pull(upstream)
    return y, [*weights, image]


def agrees_with_differences(gradient, compute, array, rng):
    """Asserts that a gradient is that of the number `compute()` along some values of `array`.

    Args:
        gradient: Of the shape of `array`.
        compute: Function without arguments that reads `array`, in float64.
        array: Is changed, and changed back.
        rng: Draws which values.
    """
    gradient = np.array(gradient)
    assert gradient.shape == array.shape
    for place in rng.permutation(array.size)[:12]:
        was, results = array.flat[place], []
        for step in (1e-5, -1e-5):
            array.flat[place] = was + step
            results.append(compute())
        array.flat[place] = was
        expected = (results[0] - results[1]) / 2e-5
        assert gradient.flat[place] == pytest.approx(expected, rel=1e-4, abs=1e-4)
