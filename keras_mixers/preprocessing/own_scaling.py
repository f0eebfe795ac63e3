"""Whether a Keras model of any kind scales its images itself, also where ours lies within it."""

import threading
import warnings
from typing import NamedTuple

import keras
import numpy as np

from keras_mixers.preprocessing.layer import ImagePreprocessing
from keras_mixers.preprocessing.preprocessing import Preprocessing

_LOCK = threading.Lock()
_ANY_SIDE = 64  # Of a probe, in pixels, where the model takes any.


class OwnScaling(NamedTuple):
    """What a model does with its images.

    Attributes:
        preprocessing: The `Preprocessing` of its images, or None where it does not say it.
        included: Whether it takes pixels of 0 to 255 and scales them as `preprocessing` says.
        note: None, or a clause for the user, "the model ...": it scales its images, but in a way of
            its own. What it is given is then not to be scaled.
    """

    preprocessing: Preprocessing | None = None
    included: bool = False
    note: str | None = None


def of(model: keras.Model) -> OwnScaling:
    """Returns the `OwnScaling` of a built model with one input.

    The one `ImagePreprocessing` in it counts, at any depth, if it is given what the model is given.
    """
    scaling = (ImagePreprocessing, keras.layers.Rescaling, keras.layers.Normalization)
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, scaling)]
    ours = [layer for layer in layers if isinstance(layer, ImagePreprocessing)]
    first = _given_the_images(model, layers) if layers else []
    others = [layer.name for layer in first if layer not in ours]
    if len(ours) == 1 and ours[0] in first and (ours[0].scales or not others):
        return OwnScaling(ours[0].preprocessing, ours[0].scales)
    if any(layer.scales for layer in ours):
        how = "through other layers" if len(ours) == 1 else f"in {len(ours)} places"
        return OwnScaling(note=f"the model scales its images itself, {how}")
    if others:
        return OwnScaling(note=f"the model scales its images itself, by its layer {others[0]!r}")
    return OwnScaling()


class _AllSeen(Exception):
    """The rest of a model need not be computed."""


def _given_the_images(model, layers):
    """Returns those of `layers` that get the model's images as they are, found by trying it."""
    batch, *shape = model.input_shape
    shape = (batch or 1, *(side or _ANY_SIDE for side in shape))
    probe = np.random.default_rng(0).integers(0, 256, shape).astype("float32")
    seen, thread = {}, threading.get_ident()

    def spy(layer):
        call = layer.call

        def called(images, *args, **kwargs):
            if threading.get_ident() != thread:  # Somebody else, who uses the model.
                return call(images, *args, **kwargs)
            images = keras.ops.convert_to_tensor(images)
            array = keras.ops.convert_to_numpy(keras.ops.cast(images, "float32"))
            seen.setdefault(id(layer), (layer, array))
            if len(seen) == len(layers):
                raise _AllSeen
            return call(images, *args, **kwargs)

        return called

    with _LOCK:
        _try(model, probe, layers, spy)
    return [layer for layer, images in seen.values() if np.array_equal(images, probe)]


def _try(model, probe, layers, spy):
    before = {id(layer): vars(layer).get("call") for layer in layers}
    for layer in layers:
        vars(layer)["call"] = spy(layer)
    try:
        with warnings.catch_warnings():  # One image stands for a list of one, too.
            warnings.simplefilter("ignore")
            model(probe, training=False)
    except Exception:  # Seen them all, or it cannot be tried: then none is known to be the first.
        pass
    finally:
        for layer in layers:
            del vars(layer)["call"]
            if before[id(layer)] is not None:
                vars(layer)["call"] = before[id(layer)]
