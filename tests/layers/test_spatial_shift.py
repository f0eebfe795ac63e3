import keras
import numpy as np
import pytest

from keras_mixers import layers
from tests import reference

# (rows down, columns right) per group of channels, as the docstring promises.
STEPS = {
    "four": [(0, 1), (0, -1), (1, 0), (-1, 0)],
    "four_rows_first": [(1, 0), (-1, 0), (0, 1), (0, -1)],
    "eight": [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)],
    "horizontal": [(0, 1), (0, -1)],
    "vertical": [(1, 0), (-1, 0)],
    "none": [(0, 0)],
}


def shift(x, directions="four"):
    return np.array(layers.SpatialShift2D(directions)(x))


def test_by_hand():
    """The border keeps its own value: [0, 1, 2, 3] becomes [0, 0, 1, 2], never [0, 0, 0, 0]."""
    row = np.arange(4, dtype="float32").reshape(1, 1, 4, 1)
    y = shift(np.repeat(row, 4, axis=-1))
    assert y[0, 0].T.tolist() == [[0, 0, 1, 2], [1, 2, 3, 3], [0, 1, 2, 3], [0, 1, 2, 3]]
    column = row.reshape(1, 4, 1, 1)
    y = shift(np.repeat(column, 4, axis=-1))
    assert y[0, :, 0].T.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 0, 1, 2], [1, 2, 3, 3]]


@pytest.mark.parametrize("directions", STEPS)
@pytest.mark.parametrize("size", [(5, 4), (2, 7), (1, 3), (1, 1)])
@pytest.mark.parametrize("channels", [8, 11])
def test_agrees_with_numpy(directions, size, channels, rng):
    x = rng.normal(size=(2, *size, channels)).astype("float32")
    expected = reference.spatial_shift(x, STEPS[directions])
    np.testing.assert_array_equal(shift(x, directions), expected)


def test_the_rest_of_the_channels_belongs_to_the_last_group():
    x = np.zeros((1, 3, 1, 7), "float32")
    x[0, 0] = 1
    # Groups of one channel: right, left, down; the other four go up.
    assert shift(x)[0, :, 0].T.tolist() == [[1, 0, 0], [1, 0, 0], [1, 1, 0], *[[0, 0, 0]] * 4]


def test_unknown_size(rng):
    inputs = keras.Input((None, None, 8))
    model = keras.Model(inputs, layers.SpatialShift2D("eight")(inputs))
    assert model.output_shape == (None, None, None, 8)
    for size in ((3, 5), (6, 2)):
        x = rng.normal(size=(1, *size, 8)).astype("float32")
        expected = reference.spatial_shift(x, STEPS["eight"])
        np.testing.assert_array_equal(model.predict(x, verbose=0), expected)


def test_no_weights():
    layer = layers.SpatialShift2D()
    layer.build((None, 4, 4, 8))
    assert layer.weights == []


def test_unknown_directions():
    with pytest.raises(ValueError, match=r"`directions` must be one of 'four', .*'diagonal'"):
        layers.SpatialShift2D("diagonal")


def test_too_few_channels():
    with pytest.raises(
        ValueError, match=r"directions='four' needs at least 4 channels.*\(2, 4, 4, 3\)"
    ):
        layers.SpatialShift2D()(np.zeros((2, 4, 4, 3), "float32"))
