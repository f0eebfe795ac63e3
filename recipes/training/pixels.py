"""From pixels to what a model sees; on the device, so that pictures travel as bytes."""

import keras

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
