"""Weights of one grid of positions carried to another.

Token mixing and axial projections have a weight for every position. Two ways are known:

- `"interpolate"`: what the layer did on its old grid, it does on the new one to the resampled map.
  With A the linear resampling of a new map to the old grid and B the one back (both with rows that
  sum to 1, and A averaging where the new grid is finer), a kernel W becomes A^T W B^T, and a bias b
  becomes B b. Constant maps give what they gave; the number of hidden units stays.
- `"block_diagonal"`: MLP-Mixer's own, Appendix C of https://arxiv.org/abs/2105.01601, for grids K
  times as high and L times as wide. The new grid is cut into K x L tiles, each of which the old
  perceptron works on by itself: K L times as many hidden units, and exact.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np

from keras_mixers.layers import AxialProjection, TokenMixing, checks
from keras_mixers.preprocessing import ImagePreprocessing

METHODS = ("interpolate", "block_diagonal")


def resize(
    model: keras.Model,
    input_shape: tuple[int | None, int | None, int],
    method: str = "interpolate",
) -> keras.Model:
    """Returns a model for images of another size, with the weights of `model`, left as it is.

    Args:
        model: A functional model of one input, such as those of this package, of layers that Keras
            can save. A model within a model is to be resized before it is put there.
        input_shape: `(height, width, channels)` of the new model; height and width may be None
            where no layer has weights for every position, as in S2-MLP.
        method: `"interpolate"` (default): any size; the weights of token mixing and of axial
            projections are resampled. `"block_diagonal"` (Appendix C of
            https://arxiv.org/abs/2105.01601, for MLP-Mixer): whole multiples of height and width;
            each tile of the image is mixed as the whole was, with as many times the hidden units.

    Raises:
        ValueError: An argument is out of range, the method cannot lead to this size, or the model
            has LoRA or quantized layers.

    Example: `keras_mixers.resize(model, (448, 448, 3), "block_diagonal")`
    """
    checks.one_of("method", method, METHODS)
    _check_model(model)
    grids = {layer.name: layer.grid for layer in mixing_layers(model)}
    input_shape = _check_shape(input_shape, model.input_shape, bool(grids))
    times = 1
    if method == "block_diagonal" and grids:
        times = math.prod(factor(model.input_shape[1:3], input_shape[:2]))

    def clone(layer):
        config = layer.get_config()
        if isinstance(layer, TokenMixing):
            config["hidden_dim"] *= times
        if isinstance(layer, ImagePreprocessing):
            size = None if None in input_shape[:2] else list(input_shape[:2])
            config["preprocessing"]["image_size"] = size
        try:
            return type(layer).from_config(config)
        except TypeError as error:
            raise ValueError(
                f"`model` must be of layers that Keras can save, other than {layer.name!r}: mark "
                "its functions by keras.saving.register_keras_serializable()"
            ) from error

    inputs = keras.Input(input_shape, name=model.inputs[0].name, dtype=model.inputs[0].dtype)
    inputs = keras.tree.map_structure(lambda _: inputs, model.input)  # A tensor, or a list of one.
    twin = keras.models.clone_model(model, input_tensors=inputs, clone_function=clone)
    _fill(twin, model, carried(twin, grids, method))
    return twin


def _fill(twin, model, changed):
    """Gives `twin` the weights of `model`, and leaves frozen what is frozen."""
    old = {weight.path: weight for weight in model.weights}
    kinds = [{weight.path: weight.dtype for weight in one.weights} for one in (twin, model)]
    if kinds[0] != kinds[1]:
        other = sorted(path for path, _ in kinds[0].items() ^ kinds[1].items())
        raise ValueError(
            "`model` must have no LoRA and no quantized layers: resize it before these. "
            f"Received: {model.name!r}, with {other[0]}"
        )
    for weight in twin.weights:
        value = keras.ops.convert_to_numpy(old[weight.path])
        if weight.path in changed:
            value = changed[weight.path].carry(value)
        weight.assign(value)
    for layer in model.layers:
        if not layer.trainable:
            twin.get_layer(layer.name).trainable = False


def _check_model(model):
    functional = isinstance(model, keras.Model) and hasattr(model, "operations") and model.built
    if not functional or len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        raise ValueError(
            "`model` must be a functional model of one image, as this package builds them. "
            f"Received: model={model!r}"
        )
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            raise ValueError(
                "`model` must have no other model within it: resize that one, and build around it "
                f"again. Received: model={model!r}, with {layer!r}"
            )


def _check_shape(input_shape, old, known):
    """Returns the shape, of whole numbers; and of None, where it need not be `known`."""
    try:
        height, width, channels = input_shape
        if channels != old[3] or (known and None in (height, width)):
            raise ValueError
        return (*(_side(side) for side in (height, width)), old[3])
    except (TypeError, ValueError):
        raise ValueError(
            f"`input_shape` must be (height, width, {old[3]}), with as many channels as the model "
            f"has. Received: input_shape={input_shape!r}"
        ) from None


def _side(side):
    return None if side is None else checks.positive_int("input_shape", side)


class Carried(NamedTuple):
    """A weight that comes from another grid: its shape there, and the way to the new one."""

    shape: tuple
    carry: Callable


def carried(model, grids, method):
    """Returns `{path: Carried}` for the weights of `model` that are not those of its own grid.

    Args:
        model: A model on the new grid.
        grids: `{layer name: (height, width)}` of the old one.
        method: One of `METHODS`.

    Raises:
        ValueError: The method cannot lead from the one grid to the other.
    """
    weights = {}
    for name, grid in grids.items():
        layer = model.get_layer(name)
        if tuple(grid) == layer.grid:
            continue
        ways = {
            (TokenMixing, "interpolate"): _interpolated_tokens,
            (TokenMixing, "block_diagonal"): _block_diagonal_tokens,
            (AxialProjection, "interpolate"): _interpolated_axes,
        }
        if (type(layer), method) not in ways:
            raise ValueError(
                "Axial projections have no hidden units to widen: the method must be "
                f"'interpolate'. Received: {method!r}"
            )
        parts = ways[type(layer), method](layer, grid)
        weights |= {f"{name}/{part}": carried for part, carried in parts.items()}
    return weights


def mixing_layers(model):
    """The layers of `model` whose weights belong to one grid."""
    return [layer for layer in model.layers if isinstance(layer, TokenMixing | AxialProjection)]


def biases(layer):
    """Names, within a mixing layer, of the weights that have one number for each position."""
    if isinstance(layer, TokenMixing):
        return ("fc2/bias",)
    return ("height_projection/bias", "width_projection/bias")


def factor(old_grid, grid):
    """Returns how often the old grid fits into the new one: `(times in height, in width)`.

    Raises:
        ValueError: It does not fit a whole number of times.
    """
    if any(new % old for new, old in zip(grid, old_grid, strict=True)):
        raise ValueError(
            "`input_shape` must be whole multiples of the old height and width for "
            f"'block_diagonal', or take 'interpolate'. Received: from {_size(old_grid)} to "
            f"{_size(grid)}"
        )
    return grid[0] // old_grid[0], grid[1] // old_grid[1]


def _size(grid):
    return " x ".join(str(side) for side in grid)


def _interpolated_tokens(layer, grid):
    there, back = _resamplings(grid, layer.grid), _resamplings(layer.grid, grid)
    tokens, hidden = grid[0] * grid[1], layer.hidden_dim

    def first_kernel(kernel):
        maps = kernel.reshape(*grid, hidden)
        return np.einsum("hwd,hH,wW->HWd", maps, *back, optimize=True).reshape(-1, hidden)

    def second_kernel(kernel):
        maps = kernel.reshape(hidden, *grid)
        return np.einsum("dhw,Hh,Ww->dHW", maps, *there, optimize=True).reshape(hidden, -1)

    def second_bias(bias):
        return np.einsum("hw,Hh,Ww->HW", bias.reshape(grid), *there, optimize=True).reshape(-1)

    return {
        "fc1/kernel": Carried((tokens, hidden), first_kernel),
        "fc2/kernel": Carried((hidden, tokens), second_kernel),
        "fc2/bias": Carried((tokens,), second_bias),
    }


def _interpolated_axes(layer, grid):
    parts = {}
    for i, name in enumerate(("height_projection", "width_projection")):
        old, new = grid[i], layer.grid[i]
        there, back = _linear(old, new), _linear(new, old)
        parts[f"{name}/kernel"] = Carried(
            (old, old), lambda kernel, there=there, back=back: back.T @ kernel @ there.T
        )
        parts[f"{name}/bias"] = Carried((old,), lambda bias, there=there: there @ bias)
    return parts


def _block_diagonal_tokens(layer, grid):
    tiles = _tiles(grid, layer.grid)
    tokens, hidden = grid[0] * grid[1], layer.hidden_dim // len(tiles)

    def first_kernel(kernel):
        wide = np.zeros((tokens * len(tiles), layer.hidden_dim))
        for i, tile in enumerate(tiles):
            wide[tile, i * hidden : (i + 1) * hidden] = kernel
        return wide

    def second_bias(bias):
        wide = np.zeros(tokens * len(tiles))
        for tile in tiles:
            wide[tile] = bias
        return wide

    return {
        "fc1/kernel": Carried((tokens, hidden), first_kernel),
        "fc1/bias": Carried((hidden,), lambda bias: np.tile(bias, len(tiles))),
        "fc2/kernel": Carried((hidden, tokens), lambda kernel: first_kernel(kernel.T).T),
        "fc2/bias": Carried((tokens,), second_bias),
    }


def _tiles(old_grid, grid):
    """Returns the tokens of each tile, which lie row by row over the whole new grid."""
    rows, columns = factor(old_grid, grid)
    tokens = np.arange(grid[0] * grid[1]).reshape(rows, old_grid[0], columns, old_grid[1])
    return tokens.swapaxes(1, 2).reshape(rows * columns, -1)


def _resamplings(old_grid, grid):
    return [_linear(old, new) for old, new in zip(old_grid, grid, strict=True)]


def _linear(old, new):
    """Returns the matrix, (new, old), that resamples linearly; averaging where `new` is smaller."""
    step = old / new
    centers = (np.arange(new)[:, None] + 0.5) * step - 0.5
    weights = np.maximum(0, 1 - np.abs(np.arange(old) - centers) / max(step, 1))
    return weights / weights.sum(axis=1, keepdims=True)
