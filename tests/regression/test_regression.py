"""What version 0.1.0 gave before its scripts became part of the package, is still given.

Its files and numbers lie beside this file; save_models.py and record.py wrote them.
"""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_mixers  # noqa: F401  (registers the layers)
from tests.models.test_variants import PARAMETERS

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
NUMBERS = json.loads((HERE / "numbers" / "numbers.json").read_text())
# A layer of each small model whose output was kept.
INNER = {
    "mlp_mixer": "block_0_token_mixing",
    "s2_mlp": "block_1_spatial_shift",
    "smlpnet": "block_1_axial_projection",
}


@pytest.mark.parametrize("family", INNER)
def test_a_file_saved_before_predicts_the_same(family):
    """On every backend; nothing but `import keras_mixers` makes its layers known."""
    model = keras.models.load_model(HERE / f"{family}.keras")
    inner = model.get_layer(INNER[family]).output
    with np.load(HERE / "expected.npz") as arrays:
        expected = {name: arrays[f"{family}/{name}"] for name in ("output", INNER[family])}
        images = arrays[f"{family}/pictures"]
    found = keras.Model(model.input, [model.output, inner]).predict(images, verbose=0)
    for name, value in zip(expected, found, strict=True):
        assert np.std(expected[name], axis=0).max() > 0.02  # Images that differ tell something.
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=2e-6, err_msg=name)


def test_every_variant_has_the_parameters_that_were_recorded():
    """Built and counted in tests/models/test_variants.py."""
    assert {name: size["parameters"] for name, size in NUMBERS["sizes"].items()} == PARAMETERS


@pytest.mark.tensorflow
def test_a_whole_variant_is_as_recorded():
    """The first of `test_all_numbers` that can be told without waiting for it."""
    from tests.regression import record

    assert record.sizes("MLPMixerS32") == NUMBERS["sizes"]["MLPMixerS32"]
    compare(record.outputs("MLPMixerS32"), NUMBERS["outputs"]["MLPMixerS32"])


@pytest.mark.slow
@pytest.mark.tensorflow
def test_all_numbers(tmp_path):
    """In a process of its own: tests have two devices, and a run takes all that it finds."""
    subprocess.run(
        [sys.executable, "-m", "tests.regression.record", tmp_path],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        check=True,
    )
    found = json.loads((tmp_path / "numbers.json").read_text())
    assert found["sizes"] == NUMBERS["sizes"]
    for part in ("outputs", "presets", "digits"):
        compare(found[part], NUMBERS[part], part)
    for name, files in NUMBERS["tflite"].items():
        for precision, file in files.items():
            # Not the hash: that of another machine may differ.
            size = found["tflite"][name][precision]["bytes"]
            assert size == pytest.approx(file["bytes"], rel=0.01), f"{name}, {precision}"


def compare(found, expected, where=""):
    """Compares nested dicts and lists of numbers, each to 1e-4, or 1e-5 where it is near 0."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for name, value in expected.items():
            compare(found[name], value, f"{where}/{name}")
    else:
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-5), where
