import keras
from keras import ops

from keras_mixers.layers import checks

# One (rows, columns) step for each group of channels: (1, 0) moves a group one row down, (0, 1)
# one column to the right.
_STEPS = {
    "four": ((0, 1), (0, -1), (1, 0), (-1, 0)),
    "four_rows_first": ((1, 0), (-1, 0), (0, 1), (0, -1)),
    "eight": ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)),
    "horizontal": ((0, 1), (0, -1)),
    "vertical": ((1, 0), (-1, 0)),
    "none": ((0, 0),),
}

_EVERY = slice(None)
_RECEIVES = {0: _EVERY, 1: slice(1, None), -1: slice(None, -1)}
_GIVES = {step: _RECEIVES[-step] for step in _RECEIVES}
_BORDER = {1: slice(None, 1), -1: slice(-1, None)}


@keras.saving.register_keras_serializable(package="keras_mixers")
class SpatialShift2D(keras.layers.Layer):
    """S2-MLP's parameter-free shift: each group of channels moves by one position.

    Positions without a source, at the border, keep their own values: no zeros, no wrap-around.
    The channels are cut into as many groups of equal size as there are directions; if that leaves
    a rest, it belongs to the last group.

    Args:
        directions: Where the groups move, in the order of the channels:

            - `"four"` (default, the paper's): right, left, down, up. (The paper writes a map as
              width x height x channels, and shifts along the width first.)
            - `"four_rows_first"`: down, up, right, left, as in the second branch of S2-MLPv2.
            - `"eight"`: the four, then down-right, down-left, up-right, up-left.
            - `"horizontal"`: right, left.
            - `"vertical"`: down, up.
            - `"none"`: no shift at all.

    Input and output shape: `(batch, height, width, channels)`; height and width may be unknown.

    Raises:
        ValueError: `directions` is unknown, or there are fewer channels than directions.

    Papers: https://arxiv.org/abs/2106.07477, section 3.2 and ablations;
    https://arxiv.org/abs/2108.01072, section 3.2, for the second branch.
    """

    def __init__(self, directions="four", **kwargs):
        super().__init__(**kwargs)
        self.directions = checks.one_of("directions", directions, tuple(_STEPS))

    def build(self, input_shape):
        _, _, channels = checks.feature_map(self, input_shape)
        groups = len(_STEPS[self.directions])
        if channels < groups:
            raise ValueError(
                f"SpatialShift2D with directions={self.directions!r} needs at least {groups} "
                f"channels. Received: shape={tuple(input_shape)} (layer {self.name!r})"
            )

    def call(self, inputs):
        steps = _STEPS[self.directions]
        size = inputs.shape[-1] // len(steps)
        starts = [group * size for group in range(len(steps))]
        ends = [*starts[1:], None]
        # Slices, not ops.split, which would cut the TFLite graph into pieces for its delegate.
        shifted = [
            _shift(inputs[..., start:end], *step)
            for start, end, step in zip(starts, ends, steps, strict=True)
        ]
        return ops.concatenate(shifted, axis=-1)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return {**super().get_config(), "directions": self.directions}


def _shift(x, rows, columns):
    """Moves a map by at most one row and one column; the border keeps its own values.

    Made of slices and concatenations, never of assignments into `x`: those would smear the first
    row or column over the whole axis wherever source and target share memory.
    """
    y = x[:, _GIVES[rows], _GIVES[columns]]
    if columns:
        y = _with_border(x[:, _RECEIVES[rows], _BORDER[columns]], y, columns, axis=2)
    if rows:
        y = _with_border(x[:, _BORDER[rows]], y, rows, axis=1)
    return y


def _with_border(border, y, step, axis):
    return ops.concatenate([border, y] if step > 0 else [y, border], axis=axis)
