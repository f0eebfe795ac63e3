"""What a weight file says of the model that its weights are of, found without reading them."""

import json
import math
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from keras_mixers.layers import activations
from keras_mixers.preprocessing import Preprocessing
from keras_mixers.weights import formats, names, origin, resizing

HEAD = ("head/kernel", "head/bias")
_MAX_SIDE = 100_000  # Of a grid of positions; and hidden units.
_MAX_CARRIED = 1024  # Side of a grid that is carried to another: images of 16,384 pixels.


class Place(NamedTuple):
    """Where a weight lies in a file: the array's name there, and its layout."""

    name: str
    layout: names.Layout


class Source(NamedTuple):
    """What a file says of the model that its weights are of.

    Attributes:
        naming: The `names.Naming` that its names are of, or None where they are Keras' own.
        activation: Of its perceptrons, as `keras.activations` name it, or None if it does not say.
        tokens: Number of positions that its token mixing was made for, or None.
        tokens_mlp_dim: Hidden units of its token mixing, or None.
        grid: `(height, width)` of the tokens, or None where the file does not say.
        shape_of: From the path of a weight in our model to its shape there, or None if the file has
            no such weight, has it with another number of axes, or is Keras' own.
        preprocessing: The `Preprocessing` that the weights expect, or None where nothing says it.
        file: The `formats.OpenFile` that this was found in, for who reads the weights once; None
            where it was not opened for it.
        layers: Configs of the layers, by name, of a `.keras` file.
    """

    naming: names.Naming | None = None
    activation: str | None = None
    tokens: int | None = None
    tokens_mlp_dim: int | None = None
    grid: tuple | None = None
    shape_of: Callable = lambda path: None
    preprocessing: Preprocessing | None = None
    file: formats.OpenFile | None = None
    layers: dict[str, dict] | None = None


def describe(
    path: str | os.PathLike | None,
    entry: str | None = None,
    namings: Sequence[names.Naming] = (),
) -> Source | None:
    """Returns the `Source` that a weight file names, without reading its weights; None of None.

    Args:
        path: Of the file.
        entry: As of `load`.
        namings: The `names.Naming`s of the family that it may be of, such as `model.namings`;
            without them, a file of another codebase is refused.

    Raises:
        ValueError: There is no such file, it cannot be read, or its names are unknown.
    """
    if path is None:
        return None
    path = existing_file(path)
    try:
        config = formats.config_in(path)
        if config is not None:
            return _source_of_config(config)
        file = formats.OpenFile(path, entry)
        return _source_of_names(file.arrays, path, namings)._replace(file=file)
    except formats.UnreadableFile as error:
        raise ValueError(
            f"`weights` must be a file of weights. Received: weights={os.fspath(path)!r}: {error}"
        ) from error


def existing_file(path):
    """Returns the path of a weight file, which in a run folder is its model.keras."""
    found = os.path.expanduser(path) if isinstance(path, str | os.PathLike) else ""
    if os.path.isdir(found):
        found = os.path.join(found, "model.keras")
    if not os.path.isfile(found):
        raise ValueError(
            f"`weights` must be None or the path of an existing {formats.KINDS} file, or of a "
            f"run folder with its model.keras. Received: weights={path!r}"
        )
    return found


def _source_of_config(config):
    try:
        return _source_of_layers(config)._replace(layers=_layers_in(config))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise formats.UnreadableFile("its config.json describes no model") from error


def _source_of_layers(config):
    preprocessing = None
    for layer in config["config"]["layers"]:
        if layer["class_name"] == "ImagePreprocessing":
            preprocessing = Preprocessing.from_config(layer["config"]["preprocessing"])
        if layer["class_name"] == "TokenMixing":
            _, *grid, _ = layer["build_config"]["input_shape"]
            layer = layer["config"]
            hidden_dim, activation = layer["hidden_dim"], layer["activation"]
            sides = [_is_side(side) for side in (*grid, hidden_dim)]
            if sides != [True] * 3 or not isinstance(activation, str | dict):
                raise ValueError("it has a layer of no model")
            # Any other than a name could be anything.
            known = activation if isinstance(activation, str) else None
            grid = tuple(grid)
            tokens = math.prod(grid)
            return Source(None, known, tokens, hidden_dim, grid, preprocessing=preprocessing)
    return Source(preprocessing=preprocessing)


def _layers_in(config):
    layers = [layer["config"] for layer in config["config"]["layers"]]
    return {layer["name"]: layer for layer in layers if isinstance(layer.get("name"), str)}


def _is_side(side):
    return isinstance(side, int) and 0 < side < _MAX_SIDE


def _source_of_names(arrays, path, namings):
    if any(name.startswith("layers/") for name in arrays):
        kernel = arrays.get("layers/token_mixing/fc1/vars/0")
        return Source(None, None, *_dimensions(kernel and kernel.shape))
    naming, present = recognized(arrays, namings)

    def shape_of(path):
        place = naming.of(path)
        return place and shape_in(Place(*place), present)

    kernel, head = shape_of("block_0_token_mixing/fc1/kernel"), shape_of(HEAD[1])
    preprocessing = (
        _preprocessing_in(arrays.metadata)
        or naming.preprocessing
        or origin.preprocessing(path, head and head[0])
    )
    return Source(
        naming,
        _activation_in(arrays.metadata) or naming.activation,
        *_dimensions(kernel),
        shape_of=shape_of,
        preprocessing=preprocessing,
    )


def _preprocessing_in(metadata):
    """What `keras_mixers.weights.save` has written, or None."""
    about = metadata.get(formats.PREPROCESSING)
    if about is None:
        return None
    try:
        return Preprocessing.from_config(json.loads(about))
    except (AttributeError, RecursionError, TypeError, ValueError) as error:
        raise formats.UnreadableFile("its metadata has a preprocessing of no model") from error


def _activation_in(metadata):
    """What `keras_mixers.weights.save` has written, or None."""
    name = metadata.get(formats.ACTIVATION)
    try:
        activations.get(name)
    except ValueError as error:
        raise formats.UnreadableFile("its metadata has an activation of no model") from error
    return name


def shape_in(place, present):
    """Returns our shape of a weight in the file; None if it is not there, or of other axes."""
    if place.name not in present:
        return None
    try:  # With an array without contents, to see the shape that ours has.
        empty = np.broadcast_to(np.float32(0), present[place.name].shape)
        return place.layout.to_keras(empty).shape
    except (ValueError, IndexError):  # It has another number of axes.
        return None


def _dimensions(shape):
    """Returns the number of tokens and of hidden units, from the shape of token mixing's kernel."""
    return shape if shape and len(shape) == 2 else (None, None)


def activation(asked: str | Callable | None, source: Source | None, default: str) -> str | Callable:
    """Returns the activation to build with: what was asked for, what the source has, or else
    `default`.
    """
    return asked or (source and source.activation) or default


def tiles(source: Source | None, grid: Sequence[int]) -> int:
    """Returns how often the grid of the source fits into `grid`; 1 without a source.

    Raises:
        ValueError: It does not fit a whole number of times, or is unknown.
    """
    if not source or not source.tokens:
        return 1
    try:
        old = grid_of([source.tokens], grid, source.grid)
    except formats.UnreadableFile as error:
        raise ValueError(f"`weights` must be of a known grid of positions: {error}") from error
    return math.prod(resizing.factor(old, grid))


def recognized(arrays, namings):
    """Returns the `Naming` of a file, and its arrays by the names in that naming's table.

    Raises:
        UnreadableFile: The names are of none of `namings`, or two of them stand for one weight.
    """
    found = names.recognize(arrays, namings)
    if found is None:
        some = ", ".join(sorted(arrays)[:3]) or "none"
        titles = ", ".join(naming.title for naming in namings)
        known = f"neither Keras' nor those of {titles}"
        if not titles:
            known = "not Keras', and no names of other codebases are known for this family"
        raise formats.UnreadableFile(f"the names in it, such as {some}, are {known}")
    naming, in_file = found
    present = {}
    for name, its in in_file:
        if name in present:
            raise formats.UnreadableFile(f"it holds {name} twice, once as {its}")
        is_squeezed = naming.squeezed.fullmatch(its)
        present[name] = _squeezed(arrays[its], its) if is_squeezed else arrays[its]
    return naming, present


def _squeezed(array, name):
    """Google's older dense layers carry axes of length 1."""
    shape = array.shape
    while len(shape) > (1 if "bias" in name else 2) and 1 in shape:
        first = shape.index(1)
        shape = shape[:first] + shape[first + 1 :]
    return formats.Stored(shape, lambda: array.read().reshape(shape))


def grid_of(sides, grid, known):
    """Returns `(height, width)` of the grid that a file's weights were made for.

    Args:
        sides: Its height and width, or only the number of its positions.
        grid: Of the model, which is the file's too where that has as many positions.
        known: What the file says, or None.

    Raises:
        UnreadableFile: It cannot be known, or is too large.
    """
    if len(sides) == 2:
        old = tuple(sides)
    elif known and math.prod(known) == sides[0]:
        old = known
    elif sides[0] == math.prod(grid):
        old = grid
    else:
        old = (math.isqrt(sides[0]),) * 2
        if math.prod(old) != sides[0]:
            raise formats.UnreadableFile(
                f"it was made for {sides[0]} positions, which are no square: load it into a model "
                "of its own input_shape, and change that with keras_mixers.resize"
            )
    if not 1 <= min(old) <= max(old) <= _MAX_CARRIED:
        raise formats.UnreadableFile(
            f"it was made for a grid of {old[0]} x {old[1]} positions; a side may have 1 to "
            f"{_MAX_CARRIED}"
        )
    return old
