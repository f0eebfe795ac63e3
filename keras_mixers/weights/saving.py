"""A model's weights in the names of other codebases."""

import json
import logging
import os
import zipfile

import keras
import numpy as np

from keras_mixers.layers import ChannelMixing
from keras_mixers.weights import formats

_log = logging.getLogger("keras_mixers")


def save(model: keras.Model, path: str | os.PathLike) -> None:
    """Writes the weights of an MLP-Mixer for Google's or timm's code to read.

    The file says, for this package, how images are prepared and which activation the model has.
    Other code does not read that: Google's computes with `"gelu_tanh"` and images of -1 to 1,
    timm's with `"gelu"`. A line is logged where the model does otherwise.

    Args:
        model: An MLP-Mixer.
        path: Ending in `.npz` for Google's names, or in `.safetensors` for timm's, which needs the
            package safetensors. An existing file is replaced, once the new one is whole.
            Weights in bfloat16, for which NumPy has no type, become float32 in `.npz`.

    Raises:
        ValueError: The ending is another, or the model is no MLP-Mixer.
    """
    suffix = os.path.splitext(path)[1] if isinstance(path, str | os.PathLike) else None
    if suffix not in _WRITERS:
        raise ValueError(f"`path` must end in {' or '.join(_WRITERS)}. Received: path={path!r}")
    if not isinstance(model, keras.Model):
        raise ValueError(f"`model` must be a keras.Model. Received: model={model!r}")
    namings = [n for n in getattr(model, "namings", ()) if n.saved_as == suffix]
    if not namings:
        raise ValueError(
            f"`model` must be of a family whose names are written as {suffix}, such as MLP-Mixer. "
            f"Received: {model.name!r}"
        )
    (naming,) = namings
    arrays = {}
    for weight in model.weights:
        place = naming.of(weight.path)
        if place is None:
            raise ValueError(
                f"`model` must have the weights of {naming.title} to be written as {suffix}. "
                f"Received: {model.name!r}, with {weight.path}"
            )
        name, layout = place
        arrays[name] = np.ascontiguousarray(layout.from_keras(np.asarray(weight)))
    part = f"{path}.part"
    _WRITERS[suffix](part, arrays, _about(model))
    os.replace(part, path)
    _report_differences(model, naming)


def _about(model):
    """What the names do not say, as strings, by the keys that `source` looks for."""
    about = {formats.PREPROCESSING: json.dumps(model.preprocessing.get_config())}
    activation = _activation(model)
    return about | ({formats.ACTIVATION: activation} if isinstance(activation, str) else {})


def _activation(model):
    mixing = (layer for layer in model.layers if isinstance(layer, ChannelMixing))
    return next(mixing).get_config()["activation"]


def _report_differences(model, naming):
    """Logs a line for what other code that reads these names does not do as the model does."""
    ours, theirs = model.preprocessing, naming.preprocessing
    if theirs and not ours.prepares_like(theirs.for_channels(model.input_shape[-1])):
        _log.warning(
            "weights: for other code than keras_mixers, images must be prepared by %s; %s assumes "
            "%s",
            *(ours, naming.title, theirs),
        )
    if _activation(model) != naming.activation:
        _log.warning(
            "weights: other code than keras_mixers must compute with activation=%.99r; %s computes "
            "with %r",
            *(_activation(model), naming.title, naming.activation),
        )


def _write_npz(path, arrays, about):
    known = {k: v if v.dtype.kind == "f" else v.astype("float32") for k, v in arrays.items()}
    with open(path, "wb") as file:
        np.savez(file, **known)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = json.dumps(about).encode()  # Which NumPy passes over.


def _write_safetensors(path, arrays, about):
    from safetensors.numpy import save_file

    save_file(arrays, path, metadata={"format": "pt", **about})


_WRITERS = {".npz": _write_npz, ".safetensors": _write_safetensors}
