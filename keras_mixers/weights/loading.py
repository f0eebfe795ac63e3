"""A model's weights from a file of any known kind: all of them, each once, or none."""

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_mixers.layers import ChannelMixing
from keras_mixers.weights import channels, formats, hdf5_names, names, resizing
from keras_mixers.weights.source import (
    HEAD,
    Place,
    describe,
    existing_file,
    grid_of,
    recognized,
    shape_in,
)

if TYPE_CHECKING:
    import keras

_log = logging.getLogger("keras_mixers")
# Settings of a layer that change what it computes, and not the shapes of its weights.
_COMPUTED = {"activation", "directions", "epsilon", "fusion", "include_identity", "mode"}


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
    of classes, or if the model has none; a first layer of 3 colors is adapted to a model of other
    channels (`keras_mixers.weights.channels`). Both, a change of the grid, and another activation
    or preprocessing than that of the file's source, or one that is not known, are logged as
    warnings.

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


def assign(model, path, resize="interpolate", entry=None, namings=(), source=None):
    """Does what `load` does, for a model whose preprocessing was chosen by its weights or its user.

    Args:
        source: What `describe` has returned of the file, which is then not opened again; it is
            closed here. None where nobody has asked yet.

    Returns:
        The `Source` of the file.
    """
    path = existing_file(path)
    source = source or describe(path, entry, namings)
    try:
        with source.file or formats.arrays_in(path, entry) as arrays:
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
    _report_layers(model, source)
    return source._replace(file=None)


def _report_preprocessing(model, theirs):
    ours = getattr(model, "preprocessing", None)
    if ours is None:
        return
    if theirs is None:
        _log.warning(
            "weights: their preprocessing is not known; this model has mean %s and std %s: build "
            "it with preprocessing= if they were trained with another",
            *(ours.mean, ours.std),
        )
    elif not ours.prepares_like(theirs.for_channels(model.input_shape[-1])):
        _log.warning(
            "weights: they expect images prepared by %s; this model has %s: build it with "
            "preprocessing= of the weights",
            *(theirs, ours),
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


def _report_layers(model, source):
    """Logs a line for the first layer that computes something else than in the source's config."""
    told = {"activation"} if source.activation else set()
    for layer in model.layers:
        ours = layer.get_config()
        theirs = (source.layers or {}).get(layer.name, {})
        for name in sorted(_COMPUTED & ours.keys() & theirs.keys() - told):
            if layer.name != "head" and ours[name] != theirs[name]:
                is_plain = isinstance(theirs[name], str | int | float)
                _log.warning(
                    "weights: their source computes with %s=%.99s in its layer %r, this model with "
                    "%r",
                    name,
                    repr(theirs[name]) if is_plain else "a function of its own",
                    *(layer.name, ours[name]),
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
    adapted = channels.adapted(shapes, stem and shape_in(stem, present))
    wanted = {path: places[path] for path in shapes if path not in head}
    spare = {place.name for path, place in places.items() if path in HEAD} if head else set()
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
    paths = [*HEAD, *(weight.path for weight in model.weights)]
    if any(name.startswith("layers/") for name in arrays):
        own = {path: f"layers/dense/vars/{i}" for i, path in enumerate(HEAD)}
        own |= hdf5_names.in_hdf5(model)
        present = {name: array for name, array in arrays.items() if name.startswith("layers/")}
        return {path: Place(own[path], names.SAME) for path in paths}, present
    naming, present = recognized(arrays, namings)
    places = {path: naming.of(path) for path in paths}
    foreign = [path for path, place in places.items() if place is None]
    if foreign:
        raise formats.UnreadableFile(
            f"it holds the weights of {naming.title}, which has nothing like {foreign[0]}"
        )
    return {path: Place(*place) for path, place in places.items()}, present


def _say_head(shapes, bias):
    now = f"a new head of {shapes['head/bias'][0]}" if "head/bias" in shapes else "no head"
    _log.warning("weights: the head of %d classes was left out; the model has %s", *bias.shape, now)


def _say_grid(model, resize):
    height, width = model.input_shape[1:3]
    _log.warning("weights: carried to images of %d x %d by resize=%r", height, width, resize)


def _head_to_drop(shapes, places, present):
    """Returns the paths of the head's weights, if the file has another one than the model."""
    kernel = present.get(places["head/kernel"].name)
    bias = present.get(places["head/bias"].name)
    if kernel is None or bias is None or len(kernel.shape) != 2 or len(bias.shape) != 1:
        return ()
    same = "head/bias" in shapes and shapes["head/bias"] == bias.shape
    return () if same else HEAD


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
            grids[layer.name] = grid_of([array.shape[0] for array in arrays], layer.grid, known)
    return grids


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
