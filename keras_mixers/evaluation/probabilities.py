"""What makes probabilities of a model's outputs."""

import keras
import numpy as np


def made_by(model, loss):
    """Returns "softmax" or "sigmoid", which makes probabilities of a model's outputs, or None.

    None where they are probabilities already: by the last layer, or by what a try shows.

    Args:
        model: A `keras.Model`.
        loss: "softmax" or "sigmoid": by which it was trained.
    """
    last = model.layers[-1]
    while getattr(last, "layers", None):  # A model may be the last layer of another.
        last = last.layers[-1]
    activation = getattr(last, "activation", None)
    ends = activation and keras.activations.serialize(activation)
    if isinstance(last, keras.layers.Softmax) or ends in ("softmax", "sigmoid"):
        return None
    return None if _sums_to_one(model) else loss


def of(outputs, by):
    """Returns the probabilities of outputs, `(images, classes)`, as float32.

    Args:
        outputs: An array.
        by: What `made_by` returns.
    """
    outputs = np.asarray(outputs, "float32")
    if by == "sigmoid":
        halves = np.tanh(outputs / 2)  # No exponential overflows.
        return (1 + halves) / 2
    if by == "softmax":
        powers = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)
    return outputs


def _sums_to_one(model):
    """Returns whether the outputs for some random pixels are shares of one, as a softmax's are."""
    batch, *shape = model.input_shape
    if None in shape:
        return False
    pixels = np.random.default_rng(0).integers(0, 256, (batch or 2, *shape)).astype("float32")
    outputs = keras.ops.convert_to_numpy(model(pixels, training=False)).astype("float32")
    return outputs.ndim == 2 and bool(
        (outputs >= 0).all() and np.allclose(outputs.sum(-1), 1, atol=1e-2)
    )
