import re
import subprocess
import sys

import pytest

from benchmarks import inference

SQUARE = inference.SIDE**3


def test_rows():
    """A model of half the product's multiply-adds; two rounds, in the second all take longer."""
    times = {
        "product, NumPy": [[8.0, 8.0], [12.0]],
        "product, LiteRT": [[4.0], [16.0]],
        "float32": [[3.0, 3.0, 30.0], [6.0]],
        "dynamic": [[1.5], [1.5]],
        "ONNX Runtime, float32": [[6.0], [3.0]],
        "ONNX Runtime, dynamic int8": [[3.0], [6.0]],
        "PyTorch eager": [[4.0], [12.0]],
    }
    facts = {kind: {} for kind in times} | {"dynamic": {"partitions": 7}}
    lines = inference.rows("M", SQUARE // 2, times, facts)
    by = {line["by"]: line for line in lines}
    # The floors of the two rounds are 4 / 2 and 12 / 2 seconds.
    assert by["ours, float32"]["of the floor"] == "1.250 (1.000 - 1.500)"
    assert by["PyTorch eager"]["of the floor"] == "2.000 (2.000 - 2.000)"
    assert by["ours, float32"]["of ONNX Runtime"] == "1.250 (0.500 - 2.000)"
    assert by["ours, dynamic"]["of ONNX Runtime"] == "0.375 (0.250 - 0.500)"
    assert by["ours, dynamic"]["of our float32"] == "0.375 (0.250 - 0.500)"
    assert by["ours, dynamic"]["partitions"] == 7
    assert by["product, LiteRT"]["of the floor"] == ""
    assert by["ours, dynamic"]["ms"] == "1500.0"
    assert by["ours, dynamic"]["GFLOP/s"] == f"{SQUARE / 1.5 / 1e9:.0f}"
    assert by["product, LiteRT"]["GFLOP/s"] == f"{2 * SQUARE / 10 / 1e9:.0f}"
    assert by["ours, float32"]["min - max"] == "3000.0 - 30000.0"


def test_peers_that_are_missing_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "timm" else name)
    found, note = inference.peers("MLPMixerB16", tmp_path)
    assert found == {}
    assert note == "No peers: timm missing; see --help."
    assert inference.peers("S2MLPDeep", tmp_path) == ({}, None)


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--rounds", "0"], "argument --rounds: must be at least 1. Received: 0"),
        (["--threads", "-1"], "argument --threads: must be at least 1. Received: -1"),
        (["--models", "Mixer"], "must be of MLPMixerS32, "),
    ],
)
def test_arguments_that_cannot_be_used(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as end:
        inference.main(arguments)
    assert end.value.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.slow
def test_the_whole_command():
    command = ["benchmarks/inference.py", "--models", "MLPMixerS32", "--rounds", "2", "--steps"]
    run = subprocess.run([sys.executable, *command, "2"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for kind in (
        "product, NumPy",
        "product, LiteRT",
        *(f"ours, {p}" for p in inference.PRECISIONS),
    ):
        assert re.search(rf"\| MLPMixerS32 +\| {kind} +\| +\d", run.stdout), kind
