"""Keras' activations and the one name that they lack."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_mixers")
def gelu_tanh(x):
    """GELU by its tanh approximation, as Flax computes it (`"gelu"` is the exact one, by erf).

    Paper: https://arxiv.org/abs/1606.08415, section 2.
    """
    return ops.gelu(x, approximate=True)


def get(identifier):
    """Returns the function named by `identifier`: `"gelu_tanh"` or whatever Keras knows."""
    return gelu_tanh if identifier == "gelu_tanh" else keras.activations.get(identifier)


def serialize(activation):
    """Returns what `get` turns back into `activation`."""
    return "gelu_tanh" if activation is gelu_tanh else keras.activations.serialize(activation)
