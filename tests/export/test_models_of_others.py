"""Models that are not of this package: exported right, or refused in a sentence."""

import json

import keras
import numpy as np
import pytest

from keras_mixers.export import report
from keras_mixers.export.exporter import export
from keras_mixers.export.origin import Origin
from keras_mixers.export.saved_model import SavedModel
from keras_mixers.export.tflite import TFLite
from tests import reference
from tests.helpers.sampling import extended

pytestmark = pytest.mark.tensorflow

layers = keras.layers


def functional(build, rng, shape=(8, 8, 3)):
    inputs = keras.Input(shape)
    model = keras.Model(inputs, build(inputs))
    reference.randomize(model, rng)
    return model


def norm_over_rows(x):
    return layers.Dense(4)(layers.GlobalAveragePooling2D()(layers.BatchNormalization(axis=1)(x)))


def shared_head(x):
    pool, head = layers.GlobalAveragePooling2D(), layers.Dense(4)
    return head(pool(layers.BatchNormalization()(x))) + head(layers.Flatten()(x)[:, :3])


def recurrent(x):
    return layers.Dense(4)(layers.LSTM(5)(layers.Reshape((8, 24))(x)))


def small(x):
    return layers.Dense(4)(layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3)(x)))


BUILDERS = {
    "norm over rows": (norm_over_rows, (8, 8, 3)),
    "norm over as many rows as channels": (norm_over_rows, (3, 3, 3)),
    "shared head": (shared_head, (8, 8, 3)),
    "loop": (recurrent, (8, 8, 3)),
    "softmax layer": (lambda x: layers.Softmax()(small(x)), (8, 8, 3)),
    "reshaped": (lambda x: layers.Reshape((4,))(small(x)), (8, 8, 3)),
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, TFLite()) for name in BUILDERS),
        ("loop", SavedModel()),
        *extended(*((name, SavedModel()) for name in BUILDERS if name != "loop")),
    ],
)
def test_is_exported(name, kind, rng, tmp_path):
    build, shape = BUILDERS[name]
    result = export(functional(build, rng, shape), tmp_path / "out" / "model", kind)
    assert result.comparison.is_telling
    assert result.agrees


def test_what_makes_probabilities(rng):
    model = functional(small, rng)
    assert Origin().probabilities_by(model) == "softmax"
    ends = {"softmax": layers.Softmax(), "activation": layers.Activation("sigmoid")}
    for end in ends.values():
        assert Origin().probabilities_by(keras.Sequential([model, end])) is None
    assert Origin().probabilities_by(keras.Sequential([model, layers.Dropout(0.1)])) == "softmax"


def test_pixels_go_into_what_stays_in_float32(rng, tmp_path):
    """The first operators are no product, and have no range."""
    model = functional(lambda x: small(layers.Rescaling(0.5, 0.1)(x)), rng)
    images = [rng.integers(0, 256, (16, 8, 8, 3), "uint8")]
    kind = TFLite("int8", takes_pixels=True, calibration=lambda: images)
    assert export(model, tmp_path / "model.tflite", kind).comparison.agreement == 1


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_within_a_model_within(policy, rng, tmp_path):
    keras.config.set_dtype_policy(policy)
    inner = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(6, 3, activation="relu")])
    model = functional(lambda x: layers.Dense(4)(layers.GlobalMaxPooling2D()(inner(x))), rng)
    keras.config.set_dtype_policy("float32")
    assert export(model, tmp_path / "model.tflite", TFLite()).agrees


def test_numbers_beyond_the_precision_are_not_written(rng, tmp_path):
    model = functional(small, rng)
    model.layers[1].kernel.assign(np.full(model.layers[1].kernel.shape, 1e5))
    result = export(model, tmp_path / "model.tflite", TFLite("float16"))
    assert not result.agrees
    assert not (tmp_path / "model.tflite").exists()
    assert "no finite numbers" in report.table(result)
    facts = json.loads(report.as_json(result), parse_constant=pytest.fail)
    assert facts["largest_difference"] is None
    assert facts["written"] is False
