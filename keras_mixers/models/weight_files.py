"""Keras' own weight files: .weights.h5, and the same inside .keras."""

import collections
import io
import os
import warnings
import zipfile

_SUFFIXES = (".weights.h5", ".keras")


def check_path(weights):
    """Raises `ValueError` when `weights` is not the path of an existing file of a known kind."""
    named = isinstance(weights, str | os.PathLike) and os.fspath(weights).endswith(_SUFFIXES)
    if not named or not os.path.isfile(weights):
        raise ValueError(
            "`weights` must be None or the path of an existing .weights.h5 or .keras file. "
            f"Received: weights={weights!r}"
        )


def load(model, weights):
    """Sets every weight of `model` from a file that holds these and no others.

    Only a model without the top may leave weights of the file unused: those of its head.

    Raises:
        ValueError: The file cannot be read, or it belongs to another model.
    """
    try:
        _check_shapes(model, weights)
        with warnings.catch_warnings():
            # Said of a file that does not fit, before the error that says so better.
            warnings.filterwarnings("ignore", "Skipping nested container")
            model.load_weights(weights)
    except Exception as error:  # Anything can be wrong with a file: bad zip, bad HDF5, bad shapes.
        reason = " ".join(str(error).split("List of objects")[0].split())
        raise ValueError(
            f"`weights` must hold the weights of this very model, {model.name!r} with input shape "
            f"{model.input_shape} and output shape {model.output_shape}. Received: "
            f"weights={os.fspath(weights)!r}, which does not fit: {reason}"
        ) from error


def _check_shapes(model, weights):
    """Keras itself ignores what a file holds beyond the model, such as more blocks."""
    surplus = _shapes_in_file(weights)
    surplus.subtract(tuple(weight.shape) for weight in model.weights)
    missing = sorted(shape for shape, count in surplus.items() if count < 0)
    unused = sorted((+surplus).elements(), key=len)
    if missing:
        raise ValueError(f"the model needs arrays of shape {missing[0]} that the file lacks")
    if unused and not _is_head(model, unused):
        raise ValueError(f"the file holds {len(unused)} arrays more than the model has weights")


def _is_head(model, shapes):
    """Whether these are a bias and a kernel, and `model` has no classifier of its own."""
    has_head = any(layer.name == "head" for layer in model.layers)
    return not has_head and [len(shape) for shape in shapes] == [1, 2]


def _shapes_in_file(weights):
    import h5py

    file = os.fspath(weights)
    if file.endswith(".keras"):
        with zipfile.ZipFile(file) as archive:
            file = io.BytesIO(archive.read("model.weights.h5"))
    shapes = collections.Counter()

    def count(_, item):
        if isinstance(item, h5py.Dataset):
            shapes[item.shape] += 1

    with h5py.File(file) as contents:
        contents["layers"].visititems(count)
    return shapes
