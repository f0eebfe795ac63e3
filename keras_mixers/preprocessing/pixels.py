"""From pixels to what a model sees; on the device, so that pictures travel as bytes."""

import keras
import numpy as np

import keras_mixers


def _zero_to_one(images):
    if isinstance(images, np.ndarray):
        return images.astype("float32") / 255
    return keras.ops.cast(images, "float32") / 255


_SCALINGS = {
    "minus_one_one": keras_mixers.mlp_mixer.preprocess_input,
    "imagenet": keras_mixers.smlpnet.preprocess_input,
    "zero_one": _zero_to_one,
}


def scale(images, pixel_range):
    """Returns float32 pictures as a model sees them.

    Args:
        images: Tensor `(batch, height, width, 3)`: uint8 pixels. Floats are returned as they are:
            whoever made them has scaled them.
        pixel_range: `"minus_one_one"`, as MLP-Mixer's pictures, `"imagenet"`, as sMLPNet's, or
            `"zero_one"`.
    """
    if keras.backend.standardize_dtype(images.dtype) != "uint8":
        return images
    return _SCALINGS[pixel_range](images)


def factors(pixel_range, channels=3):
    """Returns `(scale, offset)`, a number for each channel: a model sees pixel * scale + offset."""
    black, white = (
        _SCALINGS[pixel_range](np.full((1, channels), pixel, "uint8"))[0] for pixel in (0, 255)
    )
    return (white - black) / 255, black
