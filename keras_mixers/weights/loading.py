"""A model's weights from a file of any known kind: all of them, each once, or none."""

import logging
import math
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from keras_mixers.layers import ChannelMixing
from keras_mixers.preprocessing import Preprocessing
from keras_mixers.weights import channels, formats, hdf5_names, names, origin, resizing

if TYPE_CHECKING:
    import keras

_HEAD = ("head/kernel", "head/bias")
_MAX_SIDE = 100_000  # Of a grid of positions; and hidden units.
_MAX_CARRIED = 1024  # Side of a grid that is carried to another: images of 16,384 pixels.
_log = logging.getLogger("keras_mixers")


class _Place(NamedTuple):
    """Where a weight lies in a file: the array's name there, and its layout."""

    name: str
    layout: names.Layout


class Source(NamedTuple):
    """What a file says of the model that its weights are of.

    Attributes:
        activation: Of its perceptrons, as `keras.activations` name it, or None if it does not say.
        tokens: Number of positions that its token mixing was made for, or None.
        tokens_mlp_dim: Hidden units of its token mixing, or None.
        grid: `(height, width)` of the tokens, or None where the file does not say.
        shape_of: From the path of a weight in our model to its shape there, or None if the file has
            no such weight, has it with another number of axes, or is Keras' own.
        preprocessing: The `Preprocessing` that the weights expect, or None where nothing says it.
    """

    activation: str | None = None
    tokens: int | None = None
    tokens_mlp_dim: int | None = None
    grid: tuple | None = None
    shape_of: Callable = lambda path: None
    preprocessing: Preprocessing | None = None


def describe(
    path: str | os.PathLike | None,
    entry: str | None = None,
    namings: Sequence[names.Naming] = (),
) -> Source | None:
    """Returns the `Source` that a weight file names, without reading its weights; None of None.

    Args:
        path: Of the file.
        entry: As of `load`.
        namings: The `names.Naming`s of the family that it may be of.

    Raises:
        ValueError: There is no such file, it cannot be read, or its names are unknown.
    """
    if path is None:
        return None
    path = _file(path)
    try:
        config = formats.config_in(path)
        if config is not None:
            return _source_of_config(config)
        with formats.arrays_in(path, entry) as arrays:
            return _source_of_names(arrays, path, namings)
    except formats.UnreadableFile as error:
        raise ValueError(
            f"`weights` must be a file of weights. Received: weights={os.fspath(path)!r}: {error}"
        ) from error


def _file(path):
    if not isinstance(path, str | os.PathLike) or not os.path.isfile(os.path.expanduser(path)):
        raise ValueError(
            f"`weights` must be None or the path of an existing {formats.KINDS} file. "
            f"Received: weights={path!r}"
        )
    return os.path.expanduser(path)


def _source_of_config(config):
    try:
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
                return Source(known, tokens, hidden_dim, grid, preprocessing=preprocessing)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise formats.UnreadableFile("its config.json describes no model") from error
    return Source(preprocessing=preprocessing)


def _is_side(side):
    return isinstance(side, int) and 0 < side < _MAX_SIDE


def _source_of_names(arrays, path, namings):
    if any(name.startswith("layers/") for name in arrays):
        kernel = arrays.get("layers/token_mixing/fc1/vars/0")
        return Source(None, *_two(kernel and kernel.shape))
    naming, present = _recognized(arrays, namings)

    def shape_of(path):
        place = naming.of(path)
        return place and _shape_in(_Place(*place), present)

    kernel, head = shape_of("block_0_token_mixing/fc1/kernel"), shape_of(_HEAD[1])
    preprocessing = naming.preprocessing or origin.preprocessing(path, head and head[0])
    return Source(naming.activation, *_two(kernel), shape_of=shape_of, preprocessing=preprocessing)


def _shape_in(place, present):
    """Returns our shape of a weight in the file; None if it is not there, or of other axes."""
    if place.name not in present:
        return None
    try:  # With an array without contents, to see the shape that ours has.
        empty = np.broadcast_to(np.float32(0), present[place.name].shape)
        return place.layout.to_keras(empty).shape
    except (ValueError, IndexError):  # It has another number of axes.
        return None


def _two(shape):
    return shape if shape and len(shape) == 2 else (None, None)


def activation(asked: str | Callable | None, source: Source | None) -> str | Callable:
    """Returns the activation to build with: what was asked for, or else what the source has."""
    return asked or (source and source.activation) or "gelu_tanh"


def tiles(source: Source | None, grid: Sequence[int]) -> int:
    """Returns how often the grid of the source fits into `grid`; 1 without a source.

    Raises:
        ValueError: It does not fit a whole number of times, or is unknown.
    """
    if not source or not source.tokens:
        return 1
    try:
        old = _grid([source.tokens], grid, source.grid)
    except formats.UnreadableFile as error:
        raise ValueError(f"`weights` must be of a known grid of positions: {error}") from error
    return math.prod(resizing.factor(old, grid))


def load(
    model: "keras.Model",
    path: str | os.PathLike,
    resize: str = "interpolate",
    entry: str | None = None,
    namings: Sequence[names.Naming] | None = None,
) -> None:
    """Sets every weight of `model` from a file that holds these and no others.

    The file may be Keras' own (`.weights.h5`, `.keras`), or have the names that another codebase
    gives to the weights of the model's family. The head is left out if it is one for another number
    of classes, or if the model has none; a first layer of 3 colours is adapted to a model of other
    channels (`keras_mixers.weights.channels`). Both, a change of the grid, and another activation
    than that of the file's source are logged as warnings.

    Args:
        model: A model of one of the families.
        path: Of the file.
        resize: How weights of another image size are carried over: `"interpolate"` (default),
            or `"block_diagonal"`, for which the model must have the wider token mixing already.
        entry: Of a PyTorch file with several sets of weights, the one to take, such as
            `"model_ema"`. Defaults to `"model"`, where there is one.
        namings: The `keras_mixers.weights.names.Naming`s of the family. Defaults to those of the
            model, if it is a `keras_mixers.MixerModel`.

    Raises:
        ValueError: The file cannot be read, or belongs to another model, which stays as it was.
    """
    namings = getattr(model, "namings", ()) if namings is None else namings
    source = assign(model, path, resize, entry, namings)
    _report_preprocessing(model, source.preprocessing)


def assign(model, path, resize, entry, namings):
    """Does what `load` does, for a model whose preprocessing was chosen by its weights or its user.

    Returns:
        The `Source` of the file.
    """
    path = _file(path)
    source = describe(path, entry, namings)
    try:
        with formats.arrays_in(path, entry) as arrays:
            values = _values(model, _places(model, arrays, namings), source.grid, resize)
    except formats.UnreadableFile as error:
        raise ValueError(
            f"`weights` must hold the weights of {_described(model)}. "
            f"Received: weights={os.fspath(path)!r}: {error}"
        ) from error
    for weight in model.weights:
        if weight.path in values:
            weight.assign(values[weight.path])
    _report_activation(model, source.activation)
    return source


def _report_preprocessing(model, theirs):
    ours = getattr(model, "preprocessing", None)
    if ours is None or theirs is None:
        return
    if not ours.scales_like(theirs.for_channels(model.input_shape[-1])):
        _log.warning(
            "weights: they expect images scaled by mean %s and std %s; this model has mean %s and "
            "std %s: build it with preprocessing= of the weights",
            *(theirs.mean, theirs.std, ours.mean, ours.std),
        )


def _report_activation(model, theirs):
    for layer in model.layers:
        if isinstance(layer, ChannelMixing) and theirs:
            ours = layer.get_config()["activation"]
            if ours != theirs:
                _log.warning(
                    "weights: their source computes with activation=%.99r, this model with %r",
                    *(theirs, ours),
                )
            return


def _described(model):
    return (
        f"this very model, {model.name!r} with input shape {model.input_shape} and output shape "
        f"{model.output_shape}"
    )


def _values(model, found, grid, resize):
    """Returns `{path: array}` for the weights of the model, all of them compared and then read."""
    places, present = found
    shapes = {weight.path: tuple(weight.shape) for weight in model.weights}
    head = _head_to_drop(shapes, places, present)
    carried = resizing.carried(model, _grids(model, places, present, grid), resize)
    stem = places.get(channels.KERNEL)
    adapted = channels.adapted(shapes, stem and _shape_in(stem, present))
    wanted = {path: places[path] for path in shapes if path not in head}
    spare = {place.name for path, place in places.items() if path in _HEAD} if head else set()
    changed = carried | adapted
    _compare(wanted, shapes, changed, {k: v for k, v in present.items() if k not in spare})
    if head:
        _say_head(shapes, present[places["head/bias"].name])
    if carried:
        _say_grid(model, resize)
    if adapted:
        channels.say(shapes)
    values = {}
    for path, place in wanted.items():
        value = place.layout.to_keras(present[place.name].read())
        values[path] = changed[path].carry(value) if path in changed else value
    return values


def _places(model, arrays, namings):
    """Returns `{path: place}`, of the head too, and `{name: array}` of the weights in the file."""
    paths = [*_HEAD, *(weight.path for weight in model.weights)]
    if any(name.startswith("layers/") for name in arrays):
        own = {path: f"layers/dense/vars/{i}" for i, path in enumerate(_HEAD)}
        own |= hdf5_names.in_hdf5(model)
        present = {name: array for name, array in arrays.items() if name.startswith("layers/")}
        return {path: _Place(own[path], names.SAME) for path in paths}, present
    naming, present = _recognized(arrays, namings)
    places = {path: naming.of(path) for path in paths}
    foreign = [path for path, place in places.items() if place is None]
    if foreign:
        raise formats.UnreadableFile(
            f"it holds the weights of {naming.title}, which has nothing like {foreign[0]}"
        )
    return {path: _Place(*place) for path, place in places.items()}, present


def _say_head(shapes, bias):
    now = f"a new head of {shapes['head/bias'][0]}" if "head/bias" in shapes else "no head"
    _log.warning("weights: the head of %d classes was left out; the model has %s", *bias.shape, now)


def _say_grid(model, resize):
    height, width = model.input_shape[1:3]
    _log.warning("weights: carried to images of %d x %d by resize=%r", height, width, resize)


def _recognized(arrays, namings):
    found = names.recognize(arrays, namings)
    if found is None:
        some = ", ".join(sorted(arrays)[:3]) or "none"
        titles = ", ".join(naming.title for naming in namings)
        known = f"neither Keras' nor those of {titles}" if titles else "not Keras'"
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


def _head_to_drop(shapes, places, present):
    """Returns the paths of the head's weights, if the file has another one than the model."""
    kernel = present.get(places["head/kernel"].name)
    bias = present.get(places["head/bias"].name)
    if kernel is None or bias is None or len(kernel.shape) != 2 or len(bias.shape) != 1:
        return ()
    same = "head/bias" in shapes and shapes["head/bias"] == bias.shape
    return () if same else _HEAD


def _grids(model, places, present, known):
    """Returns `{layer: (height, width)}` of the grids that the file's weights were made for.

    Args:
        known: That of token mixing, or None.
    """
    grids = {}
    for layer in resizing.mixing_layers(model):
        arrays = [
            present.get(places[f"{layer.name}/{bias}"].name) for bias in resizing.biases(layer)
        ]
        if all(array is not None and len(array.shape) == 1 for array in arrays):
            grids[layer.name] = _grid([array.shape[0] for array in arrays], layer.grid, known)
    return grids


def _grid(sides, grid, known):
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


def _compare(wanted, shapes, carried, present):
    """Raises an error that lists all that is missing, unexpected or of another shape."""
    missing = [place.name for place in wanted.values() if place.name not in present]
    unexpected = sorted(present.keys() - {place.name for place in wanted.values()})
    wrong = []
    for path, place in wanted.items():
        shape = carried[path].shape if path in carried else shapes[path]
        # Of an array without contents, to see the shape that theirs must have.
        shape = place.layout.from_keras(np.broadcast_to(np.float32(0), shape)).shape
        if place.name in present and present[place.name].shape != shape:
            wrong.append(f"{place.name} {present[place.name].shape} instead of {shape}")
    faults = {"lacks": missing, "holds besides": unexpected, "has of another shape": wrong}
    if any(faults.values()):
        found = "; ".join(f"it {verb} {_some(what)}" for verb, what in faults.items() if what)
        raise formats.UnreadableFile(found)


def _some(listed):
    more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
    return ", ".join(listed[:5]) + more
