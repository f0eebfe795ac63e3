"""The images on which the ranges of a quantized file are found."""

import dataclasses

import numpy as np

from keras_mixers.data.unreadable_images import require_few
from keras_mixers.evaluation import inputs
from keras_mixers.export import CALIBRATION_IMAGES

_BATCH = 32  # Images that are read at once.


def calibration(data, config, split, images=CALIBRATION_IMAGES, batch_size=1):
    """Returns the function that a `TFLite` takes as its `calibration`: batches of pixels.

    Args:
        data: What `inputs.open_data` returns; training images.
        config: The `TrainingConfig` by which they are prepared.
        split: What to call `data` where too many of its images cannot be read.
        images: How many of them are taken.
        batch_size: Of the file.
    """
    whole = batch_size * -(-_BATCH // batch_size)
    config = dataclasses.replace(config, gradient_accumulation_steps=1, batch_size=whole)

    def batches():
        left, unreadable = images, []
        for read, _, weights in inputs.batches(data, config, unreadable, left, "calibrating"):
            read = np.asarray(read, "float32")[weights > 0][:left]
            left -= len(read)
            yield read
        require_few(data, unreadable, split, config.max_unreadable)

    return batches
