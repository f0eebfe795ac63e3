"""Keras' activations and the one name that they lack."""

import math

import keras
from keras import ops

# gelu_tanh(x) = x * sigmoid(x * (_SLOPE + _CUBIC * x**2)), since 1 + tanh(u) = 2 * sigmoid(2 * u).
_SLOPE = 2 * math.sqrt(2 / math.pi)
_CUBIC = 0.044715 * _SLOPE


@keras.saving.register_keras_serializable(package="keras_mixers")
def gelu_tanh(x):
    """GELU by its tanh approximation, as Flax computes it (`"gelu"` is the exact one, by erf).

    Paper: https://arxiv.org/abs/1606.08415, section 2.
    """
    return ops.gelu(x, approximate=True)


def of_training(activation):
    """Returns a function with the same values whose gradient takes less time and memory, if known.

    The form that others (TFLite) know as one operation is not the one that is cheapest to train.
    """
    if activation is gelu_tanh:
        return ops.custom_gradient(_gelu_tanh_and_gradient)
    if activation is keras.activations.gelu:
        return ops.custom_gradient(_gelu_and_gradient)
    return activation


def _gelu_tanh_and_gradient(x):
    gate = ops.sigmoid(x * (_SLOPE + _CUBIC * ops.square(x)))
    y = x * gate

    def gradient(*args, upstream=None):
        (upstream,) = args if upstream is None else (upstream,)
        slope = _SLOPE + 3 * _CUBIC * ops.square(x)
        return upstream * (gate + (1 - gate) * y * slope)

    return y, gradient


def _gelu_and_gradient(x):
    def gradient(*args, upstream=None):
        (upstream,) = args if upstream is None else (upstream,)
        # Computed again: to keep it costs more, in time on a CPU and in memory on a TPU.
        density = ops.exp(-0.5 * ops.square(x)) / math.sqrt(2 * math.pi)
        return upstream * (_normal_distribution(x) + x * density)

    return x * _normal_distribution(x), gradient


def _normal_distribution(x):
    return 0.5 * (1 + ops.erf(x * math.sqrt(0.5)))


def get(identifier):
    """Returns the function named by `identifier`: `"gelu_tanh"` or whatever Keras knows."""
    return gelu_tanh if identifier == "gelu_tanh" else keras.activations.get(identifier)


def serialize(activation):
    """Returns what `get` turns back into `activation`."""
    return "gelu_tanh" if activation is gelu_tanh else keras.activations.serialize(activation)
