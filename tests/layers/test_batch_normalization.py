import numpy as np
import pytest

from keras_mixers import layers


@pytest.mark.parametrize(("mean", "deviation"), [(0, 1), (30, 0.1), (100, 0.1), (-1000, 1)])
def test_normalizes_where_the_mean_is_large_beside_the_deviation(mean, deviation, rng):
    """Where E[x^2] - E[x]^2 in float32 would be noise."""
    x = rng.normal(mean, deviation, (32, 8, 8, 3)).astype("float32")
    layer = layers.SyncBatchNormalization(epsilon=1e-12)
    y = np.array(layer(x, training=True))
    np.testing.assert_allclose(y.std(axis=(0, 1, 2)), 1, atol=0.01)
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), 0, atol=0.01)
    exact = x.astype("float64")
    np.testing.assert_allclose(
        layer.moving_mean, 0.1 * exact.mean(axis=(0, 1, 2)), rtol=1e-5, atol=1e-5
    )
    expected = 0.9 + 0.1 * exact.var(axis=(0, 1, 2))
    np.testing.assert_allclose(layer.moving_variance, expected, rtol=1e-4)


def test_config_carries_nothing_that_another_backend_refuses():
    assert "synchronized" not in layers.SyncBatchNormalization().get_config()
