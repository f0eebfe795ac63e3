"""Checks of arguments and shapes; a message names what is wrong, what is allowed, what came."""

import numbers

from keras import ops


def positive_int(argument, value):
    """Returns `value` as an int, or raises `ValueError` when it is not a positive integer."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"`{argument}` must be a positive integer. Received: {argument}={value!r}")
    return int(value)


def rate(argument, value):
    """Returns `value` as a float, or raises `ValueError` when it is not in [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value < 1:
        raise ValueError(
            f"`{argument}` must be a number from 0 (inclusive) to 1 (exclusive). "
            f"Received: {argument}={value!r}"
        )
    return float(value)


def one_of(argument, value, allowed):
    """Returns `value`, or raises `ValueError` when it is not one of `allowed`."""
    if value not in allowed:
        choices = ", ".join(repr(choice) for choice in allowed)
        raise ValueError(f"`{argument}` must be one of {choices}. Received: {argument}={value!r}")
    return value


def feature_map(layer, shape):
    """Returns `(height, width, channels)`; height and width may be None, channels may not."""
    shape = tuple(shape)
    if len(shape) != 4 or shape[-1] is None:
        raise ValueError(
            f"{type(layer).__name__} needs a feature map of shape (batch, height, width, channels) "
            f"with a known number of channels. Received: shape={shape} (layer {layer.name!r})"
        )
    return shape[1:]


def fixed_grid(layer, shape):
    """Returns `(height, width, channels)`, all known: for layers with weights per position."""
    height, width, channels = feature_map(layer, shape)
    if height is None or width is None:
        raise ValueError(
            f"{type(layer).__name__} has weights for every position of its grid, so height and "
            "width must be known: give the model a full `input_shape`, or use SpatialShift2D, "
            f"which works on any size. Received: shape={tuple(shape)} (layer {layer.name!r})"
        )
    return height, width, channels


def same_grid(layer, shape):
    """Raises `ValueError` when the grid is not the one that the layer was built for."""
    height, width, _ = feature_map(layer, shape)
    if (height, width) != tuple(layer.grid):
        unknown = height is None or width is None
        raise ValueError(
            f"{type(layer).__name__} was built for a grid of {layer.grid[0]}x{layer.grid[1]} "
            "positions and has weights for no other: "
            + ("give the data a static size" if unknown else "resize the input")
            + ", or build a model with another `input_shape`. "
            f"Received: shape={tuple(shape)} (layer {layer.name!r})"
        )


def divisible(layer, shape, divisor, what):
    """Raises `ValueError` when a known height or width is no multiple of `divisor`."""
    height, width, _ = feature_map(layer, shape)
    if any(side is not None and side % divisor for side in (height, width)):
        raise ValueError(
            f"{type(layer).__name__} needs a height and a width that are multiples of {what}. "
            f"Received: height={height}, width={width} (layer {layer.name!r})"
        )


def divisible_when_run(inputs, divisor):
    """Returns `inputs`; in a graph, an unknown side that is no multiple of `divisor` then fails.

    Without it, such an image would lose its border, or spill into the next one of the batch.
    """
    if None not in inputs.shape[1:3]:
        return inputs
    batch, height, width, channels = ops.shape(inputs)
    whole = (height // divisor * divisor, width // divisor * divisor)
    return ops.reshape(inputs, (batch, *whole, channels))
