"""Forms of what the layers compute that only training uses: the same values, cheaper gradients.

Inference keeps the forms that exporters know as one operation.
"""

import math

import keras
from keras import ops

from keras_mixers.layers.activations import gelu_tanh

# gelu_tanh(x) = x * sigmoid(x * (_SLOPE + _CUBIC * x**2)), since 1 + tanh(u) = 2 * sigmoid(2 * u).
_SLOPE = 2 * math.sqrt(2 / math.pi)
_CUBIC = 0.044715 * _SLOPE


def as_rows(function, *maps):
    """Returns `function` of feature maps given as `(batch, height * width, channels)`.

    A TPU pads the last two axes of an array to multiples of 8 and 128, which costs a
    grid more than a row of its positions, and it fuses what has the same axes. The result is a map
    again. What is no feature map, or has an unknown side, is left as it is.
    """
    shape = maps[0].shape
    if len(shape) != 4 or None in shape[1:]:
        return function(*maps)
    _, height, width, channels = shape
    result = function(*(ops.reshape(x, (-1, height * width, channels)) for x in maps))
    return ops.reshape(result, (-1, height, width, result.shape[-1]))


def activation_of(activation):
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


def normalize(x, gamma, beta, epsilon):
    """Returns a layer normalization over the last axis, and the function of its gradient."""
    centered = x - _mean(x)
    scale = ops.rsqrt(
        _mean(centered * centered) + epsilon
    )  # Not ops.square: TFLite's is of floats.
    normal = centered * scale

    def gradient(*args, upstream=None):
        (upstream,) = args if upstream is None else (upstream,)
        others = tuple(range(len(x.shape) - 1))
        of_normal = upstream * gamma
        along = normal * _mean(of_normal * normal)
        of_x = (of_normal - _mean(of_normal) - along) * scale
        return of_x, ops.sum(upstream * normal, others), ops.sum(upstream, others)

    return normal * gamma + beta, gradient


def _mean(x):
    return ops.mean(x, axis=-1, keepdims=True)
