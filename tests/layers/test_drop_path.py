import keras
import numpy as np
import pytest

from keras_mixers import layers


def test_whole_samples_are_dropped_or_scaled(rng):
    x = rng.uniform(1, 2, (4000, 2, 3, 4)).astype("float32")
    y = np.array(layers.DropPath(0.25, seed=1)(x, training=True))
    ratio = y / x
    assert (np.ptp(ratio.reshape(4000, -1), axis=1) < 1e-5).all()
    np.testing.assert_allclose(np.unique(ratio.round(3)), [0, 1.333])
    assert abs((ratio[:, 0, 0, 0] == 0).mean() - 0.25) < 0.03
    assert abs(y.mean() / x.mean() - 1) < 0.03


def test_identity_at_inference(rng):
    x = rng.normal(size=(4, 2, 3, 4)).astype("float32")
    np.testing.assert_array_equal(layers.DropPath(0.5)(x), x)


def test_draws_differ_from_call_to_call_and_repeat_with_the_seed():
    x = np.ones((64, 1, 1, 1), "float32")
    one, two = layers.DropPath(0.5, seed=5), layers.DropPath(0.5, seed=5)
    first, second = np.array(one(x, training=True)), np.array(one(x, training=True))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(two(x, training=True), first)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_small_rates_are_kept_in_half_precision(policy):
    """A draw in bfloat16 would drop twice as many: its numbers are multiples of 1/128."""
    x = np.ones((100_000, 1, 1, 1), "float32")
    y = layers.DropPath(0.009, seed=2, dtype=policy)(x, training=True)
    dropped = (np.array(keras.ops.cast(y, "float32")) == 0).mean()
    assert 0.008 < dropped < 0.010


@pytest.mark.parametrize("rate", [-0.1, 1, 1.0, "0.5", None])
def test_bad_rate(rate):
    with pytest.raises(ValueError, match="`rate` must be a number from 0"):
        layers.DropPath(rate)
