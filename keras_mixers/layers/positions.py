"""Feature maps as rows of positions, where a layer does not care which is above which."""

from keras import ops


def as_rows(function, *maps):
    """Returns `function` of feature maps given as `(batch, height * width, channels)`.

    For training: a TPU pads the last two axes of an array to multiples of 8 and 128, which costs a
    grid more than a row of its positions, and it fuses what has the same axes. The result is a map
    again. What is no feature map, or has an unknown side, is left as it is.
    """
    shape = maps[0].shape
    if len(shape) != 4 or None in shape[1:]:
        return function(*maps)
    _, height, width, channels = shape
    result = function(*(ops.reshape(x, (-1, height * width, channels)) for x in maps))
    return ops.reshape(result, (-1, height, width, result.shape[-1]))
