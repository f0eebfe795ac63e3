"""Initializers by name, PyTorch's default among them, from which official sMLPNet trains."""

import keras

_FAN_IN_UNIFORM = "fan_in_uniform"


def fan_in_uniform(fan_in):
    """Uniform in +-1/sqrt(fan_in): how PyTorch initializes linear and convolution layers."""
    limit = fan_in**-0.5
    return keras.initializers.RandomUniform(-limit, limit)


def get(identifier):
    """Returns the initializer named by `identifier`, or `"fan_in_uniform"` itself.

    A bias cannot tell its layer's fan-in from its own shape, so `"fan_in_uniform"` stays a name
    until `create` is told the fan-in.
    """
    return identifier if identifier == _FAN_IN_UNIFORM else keras.initializers.get(identifier)


def create(initializer, fan_in):
    """Returns a fresh initializer for one weight of a layer with `fan_in` inputs.

    Fresh, because a Keras initializer returns the same values each time it is asked for the same
    shape: two weights must not share one.
    """
    if initializer == _FAN_IN_UNIFORM:
        return fan_in_uniform(fan_in)
    return initializer.clone() if hasattr(initializer, "clone") else initializer


def serialize(initializer):
    """Returns what `get` turns back into `initializer`."""
    if initializer == _FAN_IN_UNIFORM:
        return initializer
    return keras.initializers.serialize(initializer)
