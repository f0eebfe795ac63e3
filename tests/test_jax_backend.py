"""The same layers and models on JAX: the tests that compare with NumPy, and what is near them."""

import os
import pathlib
import subprocess
import sys

import pytest

from tests.helpers.sampling import extended

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Nothing here runs for long: most of the time would go into optimizing what runs once.
QUICK_TO_COMPILE = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (("tests/layers", "tests/training/on_jax.py"), "numpy"),
        *extended(
            (
                (
                    "tests/layers",
                    "tests/models/test_reference.py",
                    "tests/models/test_all_families.py",
                    "tests/regression/test_regression.py",
                ),
                "numpy or saved or shapes or reference or gradient or by_hand",
            )
        ),
    ],
    ids=["formulas", "all"],
)
def test_layers_and_models_on_jax(paths, names):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *paths]
    run = subprocess.run(
        [*command, "-m", "not slow and not extended and not tensorflow", "-k", names],
        cwd=ROOT,
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": QUICK_TO_COMPILE,
        },
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-4000:]
    assert " passed" in run.stdout
    assert "skipped" not in run.stdout
