"""What the TPU's compiler is told."""

import argparse

import pytest

from keras_mixers.training import tpu_options

NAME = "xla_tpu_scoped_vmem_limit_kib"


@pytest.mark.parametrize(
    ("limit", "kind", "elsewhere", "expected"),
    [
        (98304, "TPU v5 lite", "", {NAME: "98304"}),
        (None, "TPU v5 lite", "", {}),
        (98304, "TPU v5", "", {}),
        (98304, "TPU v6 lite", "", {}),
        (98304, "TPU v5 lite", f"--{NAME}=32768", {}),
        (98304, "TPU v5 lite", "--xla_another=1", {NAME: "98304"}),
    ],
)
def test_vmem_of_an_operation(limit, kind, elsewhere, expected, monkeypatch):
    monkeypatch.setenv("LIBTPU_INIT_ARGS", elsewhere)
    config = argparse.Namespace(tpu_scoped_vmem=limit)
    assert tpu_options.compiler_options(config, kind) == expected
