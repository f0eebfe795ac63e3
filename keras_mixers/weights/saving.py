"""A model's weights in the names of other codebases."""

import json
import logging
import os

import keras
import numpy as np

from keras_mixers.weights import formats

_log = logging.getLogger("keras_mixers")


def save(model: keras.Model, path: str | os.PathLike) -> None:
    """Writes the weights of an MLP-Mixer for Google's or timm's code to read.

    They hold no activation: Google's code computes with `"gelu_tanh"`, timm's with `"gelu"`, and
    the logits are ours where the model has the same. A `.safetensors` file says, for this package,
    how images are prepared; `.npz` cannot, and a line is logged where Google's code prepares them
    in another way.

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
    _WRITERS[suffix](part, arrays, model.preprocessing)
    os.replace(part, path)
    if suffix == ".npz":
        _report_preprocessing(model, naming.preprocessing)


def _report_preprocessing(model, assumed):
    ours = model.preprocessing
    if assumed is None:  # Whoever reads it says so.
        return
    if not ours.scales_like(assumed.for_channels(model.input_shape[-1])):
        _log.warning(
            "weights: the file cannot say how images are prepared; give preprocessing="
            "Preprocessing(mean=%s, std=%s) where it is read, or mean %s and std %s are assumed",
            *(ours.mean, ours.std, assumed.mean, assumed.std),
        )


def _write_npz(path, arrays, preprocessing):
    known = {k: v if v.dtype.kind == "f" else v.astype("float32") for k, v in arrays.items()}
    with open(path, "wb") as file:
        np.savez(file, **known)


def _write_safetensors(path, arrays, preprocessing):
    from safetensors.numpy import save_file

    about = json.dumps(preprocessing.get_config())
    save_file(arrays, path, metadata={"format": "pt", formats.PREPROCESSING: about})


_WRITERS = {".npz": _write_npz, ".safetensors": _write_safetensors}
