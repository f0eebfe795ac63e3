"""Two replicas train as one device does on the same global batch."""

import keras
import numpy as np
import pytest

from tests import reference
from tests.models.small import FAMILIES, SHORT, build

pytestmark = pytest.mark.tensorflow


def fit(family, weights, x, y):
    """One step of `fit`; returns the loss and the weights after it."""
    model = build(family, classifier_activation=None, **SHORT[family])
    model.set_weights(weights)
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    history = model.fit(x, y, batch_size=len(x), epochs=1, shuffle=False, verbose=0)
    return history.history["loss"], [keras.ops.convert_to_numpy(w) for w in model.weights], model


# The others have nothing that replicas share; the recipes' engine is tested with all of them.
@pytest.mark.parametrize(
    "family",
    [f if f == "smlpnet" else pytest.param(f, marks=pytest.mark.slow) for f in FAMILIES],
)
def test_mirrored_strategy(family, rng):
    import tensorflow as tf

    model = build(family, classifier_activation=None, **SHORT[family])
    reference.randomize(model, rng)
    before = model.get_weights()
    x = rng.normal(size=(8, *model.input_shape[1:])).astype("float32")
    x[4:] = 3 * x[4:] + 1  # The replicas' statistics must differ, or any will do.
    y = rng.normal(size=(8, 5)).astype("float32")
    loss, one, model = fit(family, before, x, y)

    devices = tf.config.list_logical_devices("CPU")
    strategy = tf.distribute.MirroredStrategy(
        [device.name for device in devices],
        cross_device_ops=tf.distribute.HierarchicalCopyAllReduce(),
    )
    assert strategy.num_replicas_in_sync == 2
    with strategy.scope():
        loss_of_two, two, _ = fit(family, before, x, y)

    np.testing.assert_allclose(loss_of_two, loss, rtol=1e-5)
    for weight, old, a, b in zip(model.weights, before, one, two, strict=True):
        scale = max(np.abs(a - old).max(), 1e-3)
        np.testing.assert_allclose(b, a, atol=2e-4 * scale, err_msg=weight.path)
