import json

import keras
import numpy as np
import pytest

from keras_mixers import layers


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [(2, 4, 3, 8), (2, 5)])
def test_is_the_sum(rng, shape, training):
    a, b = (rng.normal(size=shape).astype("float32") for _ in range(2))
    y = layers.ResidualAdd()([a, b], training=training)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(y), a + b)


@pytest.mark.parametrize("shape", [(4, 3, 8), (None, None, 8)])
def test_in_a_model(rng, shape, tmp_path):
    inputs = [keras.Input(shape) for _ in range(2)]
    outputs = layers.ResidualAdd(name="sum")(inputs)
    assert outputs.shape == (None, *shape)
    model = keras.Model(inputs, outputs)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    config = loaded.get_layer("sum").get_config()
    assert json.dumps(config) == json.dumps(model.get_layer("sum").get_config())
    a, b = (rng.normal(size=(2, 4, 3, 8)).astype("float32") for _ in range(2))
    np.testing.assert_array_equal(loaded.predict([a, b], verbose=0), a + b)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(loaded([a, b], training=True)), a + b)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_dtype_policies(rng, policy):
    y = layers.ResidualAdd(dtype=policy)([np.ones((1, 2, 2, 1), "float32")] * 2, training=True)
    assert keras.backend.standardize_dtype(y.dtype) == policy.removeprefix("mixed_")


def test_registered_under_the_package_name():
    assert keras.saving.get_registered_name(layers.ResidualAdd) == "keras_mixers>ResidualAdd"
