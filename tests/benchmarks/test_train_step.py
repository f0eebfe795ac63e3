import os
import pathlib
import re
import subprocess
import sys

import pytest

from benchmarks import train_step
from keras_mixers.training.config import TrainingConfig

pytestmark = pytest.mark.tensorflow

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = ["--models", "MLPMixerS32", "--image-size", "32", "--batch-size", "2"]
TINY += ["--steps", "1", "--rounds", "1"]
COLUMNS = ["model", "batch", "s/step", "min - max", "images/s", "GMACs/image", "GFLOP/s"]
CONFIG = TrainingConfig(model="MLPMixerB16", batch_size=10)
FACTS = {"by": "someone", "card": None, "devices": 1}


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def refuse(arguments, capfd):
    """Runs the command on what it must refuse; returns the sentence."""
    with pytest.raises(SystemExit) as end:
        train_step.main(arguments)
    assert end.value.code == 2
    error = capfd.readouterr().err
    assert "Traceback" not in error
    return error.strip().splitlines()[-1]


@pytest.mark.slow
def test_command(capfd):
    assert train_step.main(TINY) == 0
    machine, _, header, _, line = capfd.readouterr().out.strip().splitlines()
    assert re.match(r"\d+ cores? of .+; .+; 1 .+ device, .+; tensorflow [\d.]+, keras ", machine)
    assert [name for name in cells(header) if name != "of bf16 peak"] == [*COLUMNS, "ours / this"]
    values = dict(zip(cells(header), cells(line), strict=True))
    assert values["model"] == "MLPMixerS32 (keras_mixers)"
    assert (values["batch"], values["ours / this"]) == ("2", "")
    for name in ("s/step", "images/s", "GMACs/image", "GFLOP/s"):
        assert float(values[name]) > 0


def test_numbers():
    line = train_step.row(CONFIG, 1e9, FACTS, [[2.0, 2.0], [1.0, 4.0]])
    values = ["MLPMixerB16 (someone)", 10, "2", "1 - 4", "5", "1.000", "30"]
    assert line == dict(zip(COLUMNS, values, strict=True)) | {"ours / this": ""}


@pytest.mark.parametrize(
    ("card", "devices", "share"),
    [("NVIDIA H200", 1, "50.0%"), ("NVIDIA H200", 2, "25.0%"), ("A card", 1, "unknown card")],
)
def test_share_of_the_peak(card, devices, share):
    macs = 989e12 / 2 / 6 / 10  # Per image: ten images in a second are half of the peak.
    facts = FACTS | {"card": card, "devices": devices}
    assert train_step.row(CONFIG, macs, facts, [[1.0]])["of bf16 peak"] == share


def test_ratio_is_of_rounds():
    ours, others = [[2.0, 2.0, 9.0], [3.0], [8.0]], [[1.0, 1.0, 1.0], [2.0], [8.0]]
    assert train_step.ratio(ours, others) == "1.500 (1.000 - 2.000)"
    assert train_step.row(CONFIG, 1e9, FACTS, others, ours)["ours / this"].startswith("1.500 ")


@pytest.mark.parametrize(
    ("missing", "devices", "said"), [(True, 1, "pip install torch"), (False, 2, "uses one device")]
)
def test_no_peer(monkeypatch, missing, devices, said):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if missing else name)
    assert said in train_step.why_no_peer(CONFIG, FACTS | {"devices": devices})


def test_the_peer_has_our_settings():
    config = TrainingConfig(
        learning_rate=0.1, weight_decay=0.2, beta_1=0.3, beta_2=0.4, epsilon=0.5
    )
    expected = {"lr": 0.1, "weight_decay": 0.2, "betas": (0.3, 0.4), "eps": 0.5}
    assert train_step.adamw_settings(config) == expected


def test_plain_mixer_is_ours():
    pytest.importorskip("torch")
    import keras_mixers

    plain = train_step.plain_mixer(32, 0.1)
    ours = keras_mixers.MLPMixerB16(input_shape=(32, 32, 3))
    assert sum(p.numel() for p in plain.parameters()) == ours.count_params()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--steps", "0"], "argument --steps: must be at least 1. Received: 0"),
        (["--batch-size", "-2"], "argument --batch-size: must be at least 1. Received: -2"),
        (["--precision", "int8"], "argument --precision: invalid choice: 'int8'"),
        (["--models", "MLPMixerB15"], "argument --models: must be of .* Received: MLPMixerB15"),
        (
            ["--models", "SMLPNetT", "--image-size", "33"],
            "--model SMLPNetT cannot be built with --image-size 33 and .*33",
        ),
    ],
)
def test_refused_arguments(arguments, sentence, capfd):
    assert re.search(sentence, refuse(arguments, capfd))


def test_help_needs_no_tensorflow(tmp_path):
    for module in ("tensorflow", "keras", "torch"):
        (tmp_path / f"{module}.py").write_text("raise AssertionError")
    result = subprocess.run(
        [sys.executable, "benchmarks/train_step.py", "--help"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "python benchmarks/train_step.py --models MLPMixerB16" in result.stdout
