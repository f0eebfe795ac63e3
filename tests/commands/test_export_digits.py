"""The command on a run of the recipe of digits, which knows its data, labels and preparation."""

import json
import pathlib
import shutil

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from keras_mixers.commands import digits
from keras_mixers.data import digits as digits_data
from keras_mixers.evaluation import exported
from keras_mixers.evaluation.litert import LiteRTModel
from keras_mixers.evaluation.saved_model import LoadedSavedModel
from keras_mixers.export import flatbuffer
from keras_mixers.export.tflite import TFLite
from tests.commands.test_export import refuse, run_tool
from tests.helpers.image_files import encode
from tests.helpers.sampling import extended

pytestmark = pytest.mark.tensorflow


def by_numpy(model, path, images, labels):
    """Top-1 of both, agreement, and largest and mean difference, without the code under test."""
    expected = model.predict(images, verbose=0)
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (entry,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
    got = []
    for image in images:
        interpreter.set_tensor(entry["index"], image[None])
        interpreter.invoke()
        got.append(interpreter.get_tensor(end["index"])[0].copy())
    got = np.array(got)
    return {
        "top_1_model": (expected.argmax(-1) == labels).mean(),
        "top_1_file": (got.argmax(-1) == labels).mean(),
        "agreement": (got.argmax(-1) == expected.argmax(-1)).mean(),
        "largest_difference": np.abs(got - expected).max(),
        "mean_difference": np.abs(got - expected).mean(),
    }


@pytest.mark.parametrize("precision", ["int8", *extended("float32", "dynamic")])
def test_the_report_of_a_run_says_what_numpy_says(precision, digits_run, tmp_path, capsys):
    """Data, labels and preparation come from the run's folder."""
    status, out, _ = run_tool(
        capsys, digits_run, tmp_path, "--precision", precision, "--split", "test", "--json"
    )
    assert status == 0
    said = json.loads(out)
    path = pathlib.Path(said["file"])
    images, labels = digits_data.load()[2]
    model = keras.models.load_model(digits_run / "model.keras")
    expected = by_numpy(model, path, images, labels)
    assert 0.8 < expected["top_1_model"] < 1  # A number that could be wrong.
    for name, value in expected.items():
        assert said[name] == pytest.approx(value, rel=1e-3, abs=1e-6), name
    assert said["written"] is True
    assert said["images"] == 360
    assert said["bytes"] == path.stat().st_size
    assert said["delegate_partitions"] == 1
    shares = {k: v["share_of_multiply_adds"] for k, v in said["operators"].items()}
    assert shares[{"dynamic": flatbuffer.DYNAMIC}.get(precision, precision)] > 0.97
    assert sum(shares.values()) == pytest.approx(1)
    about, names = exported.read_tflite(path)
    assert names == list("0123456789")
    assert about["source"] == str(digits_run / "model.keras")


def test_the_agreement_can_be_a_gate(digits_run, tmp_path, capsys):
    """Two images for the ranges are not enough for 99.9 %."""
    command = [digits_run, tmp_path, "--precision", "int8-full", "--calibration-images", 2]
    status, out, _ = run_tool(capsys, *command, "--min-agreement", 0.999)
    assert status == 1
    assert "not written" in out
    assert "less than --min-agreement, 99.90%" in out
    assert list(tmp_path.iterdir()) == []
    status, out, _ = run_tool(capsys, *command, "--min-agreement", 0.3)
    assert status == 0
    assert "a CPU runs it in" in out
    assert [path.name for path in tmp_path.iterdir()] == ["mlp_mixer-int8-full.tflite"]


def test_the_data_of_a_run_may_be_gone(digits_run, tmp_path, capsys):
    """float32 is then compared on random images, and that is said; int8 is refused."""
    moved = tmp_path / "moved"
    shutil.copytree(digits_run, moved)
    settings = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps(settings | {"data": "/no/such/folder"}))
    sentence = refuse([moved, tmp_path / "out", "--precision", "int8"], capsys)
    assert "/no/such/folder" in sentence
    status, out, error = run_tool(capsys, moved, tmp_path / "out")
    assert status == 0
    assert "8 random images" in out
    assert "Compared on random images; for others give --data" in error


def test_labels_and_other_data(digits_run, tmp_path, capsys):
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"a {n}" for n in range(10)) + "\n")
    command = [digits_run, tmp_path / "out", "--labels", names, "--data", "digits"]
    status, out, _ = run_tool(capsys, *command)
    assert status == 0
    assert "180 images of digits, validation" in out
    _, labels = exported.read_tflite(tmp_path / "out" / "mlp_mixer.tflite")
    assert labels == [f"a {n}" for n in range(10)]
    names.write_text("one\ntwo\n")
    sentence = refuse([digits_run, tmp_path / "c", "--labels", names], capsys)
    assert f"each of the model's 10 classes, a line each. Received: 2 names in {names}" in sentence
    sentence = refuse([digits_run, tmp_path / "c", "--labels", tmp_path / "no"], capsys)
    assert "--labels must be a text file with a class name a line" in sentence


def test_labels_beside_a_model_must_be_its_own(digits_run, tmp_path, capsys):
    moved = tmp_path / "moved"
    shutil.copytree(digits_run, moved)
    (moved / "labels.txt").write_text("one\ntwo\n")
    sentence = refuse([moved / "model.keras", tmp_path / "out"], capsys)
    assert "a name for each of its 10 classes; it has 2: give --labels" in sentence


@pytest.mark.extended
def test_pixels_and_saved_models_of_a_run(digits_run, tmp_path, capsys):
    status, _, _ = run_tool(capsys, digits_run, tmp_path, "--input", "uint8", "--split", "test")
    assert status == 0
    file = LiteRTModel(tmp_path / "mlp_mixer.tflite")
    assert file.takes_pixels
    images, _ = digits_data.load()[2]
    pixels = np.round(images).astype("uint8")
    model = keras.models.load_model(digits_run / "model.keras")
    expected = model.predict(pixels.astype("float32"), verbose=0)
    np.testing.assert_allclose(file.predict(pixels), expected, atol=1e-4)
    status, out, _ = run_tool(capsys, digits_run, tmp_path, "--format", "savedmodel")
    assert status == 0
    assert "180 images of digits, validation" in out
    names, _ = LoadedSavedModel(tmp_path / "mlp_mixer").classify(
        [encode(np.repeat(x, 3, axis=-1), "PNG") for x in pixels[:50]]
    )
    found = expected[:50].argmax(axis=-1)
    assert (names[:, 0] == found.astype(str)).mean() >= 0.98  # Gray is rounded.


def test_ranges_are_found_on_as_many_images_as_asked_for(digits_run, tmp_path, capsys, monkeypatch):
    seen = []

    def write(kind, *_):
        seen.extend(kind.calibration())
        raise OSError("enough")

    monkeypatch.setattr(TFLite, "write", write)
    command = [digits_run, tmp_path, "--precision", "int8", "--calibration-images", 40]
    assert "enough" in refuse(command, capsys)
    images, _ = digits_data.load()[0]
    np.testing.assert_array_equal(np.concatenate(seen), images[:40])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--min-agreement", "1.5"), "greater than 0, at most 1. Received: 1.5"),
        (("--threads", "0"), "argument --threads: must be from 1 to 256. Received: 0"),
        (("--calibration-images", "-1"), "must be from 1 to 1,000,000. Received: -1"),
        (("--precision", "int4"), "invalid choice: 'int4'"),
        (
            ("--precision", "int8-full", "--input", "float32"),
            "must be uint8 for int8-full. Received: float32",
        ),
        (
            ("--format", "savedmodel", "--precision", "int8"),
            "--precision: is not for --format savedmodel",
        ),
        (
            ("--format", "savedmodel", "--batch-size", "4"),
            "--batch-size: is not for --format savedmodel",
        ),
        (("--split", "no"), "must be one of train, validation, test. Received: no"),
        (
            ("--data", "digits", "--eval-crop", "7"),
            "--eval-crop must be less than or equal to 1. Received: 7",
        ),
        (("--config", "x.json"), "run folders and checkpoints have theirs"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, sentence, digits_run, tmp_path, capsys):
    precise = () if "--precision" in arguments else ("--min-agreement", "0.5")
    assert sentence in refuse([digits_run, tmp_path / "out", *precise, *arguments], capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("family", digits.MODELS)
def test_the_bars_on_the_digits(family, tmp_path, capsys):
    """Every precision of the recipe's models: agreement on the test split, partitions, int8."""
    out = tmp_path / family
    out.mkdir()
    digits.run(family, digits_data.load(), out)
    for precision, least in {
        "float32": 1.0,
        "float16": 0.995,
        "dynamic": 0.995,
        "int8": 0.995,
        "int8-full": 0.985,
    }.items():
        status, text, _ = run_tool(
            capsys, out, tmp_path, "--precision", precision, "--split", "test", "--json"
        )
        said = json.loads(text)
        assert status == 0
        assert said["agreement"] >= least, precision
        if precision != "int8-full":
            assert said["delegate_partitions"] == 1, precision
        if precision == "int8":
            assert said["operators"]["int8"]["share_of_multiply_adds"] >= 0.99
