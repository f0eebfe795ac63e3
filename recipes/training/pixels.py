"""From pixels to what a model sees; on the device, so that pictures travel as bytes."""

import keras
import numpy as np

import keras_mixers

_FAMILIES = {"minus_one_one": keras_mixers.mlp_mixer, "imagenet": keras_mixers.smlpnet}


def scale(images, pixel_range):
    """Returns float32 pictures as a model sees them.

    Args:
        images: Tensor `(batch, height, width, 3)`: uint8 pixels. Floats are returned as they are:
            whoever made them has scaled them.
        pixel_range: `"minus_one_one"`, as MLP-Mixer's pictures, or `"imagenet"`, as sMLPNet's.
    """
    if keras.backend.standardize_dtype(images.dtype) != "uint8":
        return images
    return _FAMILIES[pixel_range].preprocess_input(images)


def factors(pixel_range, channels=3):
    """Returns `(scale, offset)`, a number for each channel: a model sees pixel * scale + offset."""
    black, white = (
        _FAMILIES[pixel_range].preprocess_input(np.full((1, channels), pixel, "uint8"))[0]
        for pixel in (0, 255)
    )
    return (white - black) / 255, black
