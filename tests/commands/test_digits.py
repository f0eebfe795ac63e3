import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_mixers.commands import digits
from keras_mixers.data import digits as digits_data

pytestmark = pytest.mark.tensorflow

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_split_is_fixed_stratified_and_disjoint():
    splits = digits_data.load()
    assert [len(labels) for _, labels in splits] == [1257, 180, 360]
    for images, labels in splits:
        assert images.shape[1:] == (8, 8, 1)
        assert images.dtype == "float32"
        assert images.min() == 0
        assert images.max() == 255
        share = np.bincount(labels) / len(labels)
        assert (np.abs(share - 0.1) < 0.01).all()
    again = digits_data.load()
    for (images, labels), (same_images, same_labels) in zip(splits, again, strict=True):
        np.testing.assert_array_equal(images, same_images)
        np.testing.assert_array_equal(labels, same_labels)
    images = np.concatenate([images for images, _ in splits]).reshape(1797, -1)
    assert len(np.unique(images, axis=0)) == 1797


def test_augmentation_keeps_paper_white_and_moves_the_ink():
    paper = np.zeros((64, 8, 8, 1), "float32")
    np.testing.assert_allclose(digits.augment(paper, (0, 1)), paper, atol=1e-5)
    (images, _), _, _ = digits_data.load()
    augmented = np.array(digits.augment(images[:64], (0, 1)))
    assert augmented.min() >= -1e-3
    assert augmented.max() <= 255 + 1e-3
    assert abs(augmented.mean() - images[:64].mean()) < 13
    assert not np.array_equal(augmented, images[:64])


@pytest.mark.extended
def test_the_initial_weights_and_the_order_are_seeded(tmp_path):
    """Two runs of one epoch, with whatever was drawn in between."""
    splits = [(images[:128], labels[:128]) for images, labels in digits_data.load()]
    losses = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        keras.random.uniform((3,))
        losses.append(digits.run("mlp_mixer", splits, tmp_path / name, 1)["history"]["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_a_short_run_leaves_everything_and_says_what_it_misses(digits_command):
    """Eight epochs do not reach the bar: status 1, and the sentence why."""
    said = json.loads((digits_command / "said.json").read_text())
    assert said["status"] == 1
    printed = said["printed"]
    assert "| mlp_mixer " in printed
    assert "360 of 360" in printed
    assert "mlp_mixer reached " in printed
    run = digits_command / "run"
    assert sorted(p.name for p in run.rglob("*") if p.is_file()) == [
        "config.json",
        "history.json",
        "labels.txt",
        "model.keras",
        "model.tflite",
        "report.png",
    ]
    history = json.loads((run / "mlp_mixer" / "history.json").read_text())
    assert len(history["val_accuracy"]) == 8
    model = keras.models.load_model(run / "mlp_mixer" / "model.keras")
    assert model.output_shape == (None, 10)
    assert (run / "report.png").read_bytes().startswith(b"\x89PNG")


def test_shortcomings():
    labels = np.arange(100) % 10
    wrong = np.where(np.arange(100) < 3, (labels + 1) % 10, labels)
    good = {"by_keras": labels, "by_tflite": labels, "agrees": True}
    assert digits.shortcomings({"a": good}, labels) == []
    assert digits.shortcomings({"a": {**good, "by_keras": wrong, "by_tflite": wrong}}, labels) == [
        "a reached 97.00% instead of 97.5%."
    ]
    assert digits.shortcomings({"a": {**good, "by_tflite": wrong}}, labels) == [
        "a: TFLite and Keras disagree on 3 test digits."
    ]
    assert digits.shortcomings({"a": {**good, "agrees": False}}, labels) == [
        "a: the logits of TFLite and Keras differ beyond rounding."
    ]


def test_a_folder_that_cannot_be_made_is_said_before_training(tmp_path, capsys):
    (tmp_path / "s2_mlp").write_text("in the way")
    with pytest.raises(SystemExit) as end:
        digits.main(["--model", "s2_mlp", "--out", str(tmp_path)])
    assert end.value.code == 2
    assert "argument --out: must be a folder that can be made" in capsys.readouterr().err


@pytest.mark.parametrize("backend", ["jax", "no_such"])
def test_another_backend_is_refused(backend):
    run = subprocess.run(
        [sys.executable, ROOT / "recipes" / "digits.py"],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
    assert "KERAS_BACKEND" in run.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "resnet"], "argument --model: invalid choice: 'resnet'"),
        (["--epochs", "0"], "argument --epochs: must be at least 1. Received: 0"),
        (["--out", "/dev/null/x"], "argument --out: must be a folder"),
        (["--modl", "smlpnet"], "unrecognized arguments: --modl"),
    ],
)
def test_bad_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        digits.main(arguments)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_main_job_reaches_its_bar(tmp_path):
    """97.5 % for every family, TFLite and Keras agreeing on every digit: status 0."""
    assert digits.main(["--out", str(tmp_path)]) == 0
