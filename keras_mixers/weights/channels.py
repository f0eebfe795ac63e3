"""First layers of weights for three colors, for images of another number of channels.

For one channel, the weights of the three colors are summed: a scaled gray image gives what it gave
as three equal colors. Where mean and std differ by color, as ImageNet's do, it is scaled by their
average, so that a model gives nearly that. For C others they are repeated, red, green, blue,
red, and so on, and scaled by 3 / C, which keeps the size of the sums; where C is a multiple of 3,
mean and std are repeated too, and colors repeated as often give what they gave. That is timm's way (https://github.com/huggingface/pytorch-image-models,
`adapt_input_conv` in timm/models/_manipulate.py).
"""

import logging

import numpy as np

from keras_mixers.weights.resizing import Carried

KERNEL = "stem/projection/kernel"
_COLORS = 3
_log = logging.getLogger("keras_mixers")


def adapted(shapes, theirs):
    """Returns `{path: Carried}` for the stem's kernel, if it must be adapted; otherwise empty.

    Args:
        shapes: `{path: shape}` of the model's weights.
        theirs: Shape of the stem's kernel in the file, as `(height, width, channels, filters)`, or
            None if the file has no such kernel.
    """
    ours = shapes.get(KERNEL)
    if ours is None or theirs is None or len(theirs) != 4:
        return {}
    channels = ours[2]
    if theirs[2] != _COLORS or channels == _COLORS:
        return {}
    shape = (*ours[:2], _COLORS, ours[3])
    return {KERNEL: Carried(shape, lambda kernel: _adapted(kernel, channels))}


def _adapted(kernel, channels):
    kernel = kernel.astype(np.result_type(kernel, np.float32))  # Sums of half precision are rough.
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    colors = np.arange(channels) % _COLORS
    return kernel[:, :, colors] * np.float32(_COLORS / channels)


def say(shapes):
    """Logs what was done to the stem's kernel.

    Args:
        shapes: `{path: shape}` of the model's weights.
    """
    channels = shapes[KERNEL][2]
    how = "summed" if channels == 1 else f"repeated and scaled by {_COLORS} / {channels}"
    _log.warning(
        "weights: the stem of 3 colors was adapted to channels=%d: its kernel was %s",
        *(channels, how),
    )
