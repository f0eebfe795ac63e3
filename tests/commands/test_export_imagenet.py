"""The command on a run of keras-mixers imagenet, with checkpoints and a folder of images."""

import json
import pathlib

import keras
import numpy as np
import pytest
from PIL import Image

from keras_mixers.commands import evaluate
from keras_mixers.evaluation import exported
from keras_mixers.evaluation.litert import LiteRTModel
from keras_mixers.evaluation.saved_model import LoadedSavedModel
from tests.commands import test_evaluate
from tests.commands.test_evaluate import CLASSES, world  # noqa: F401  (a fixture)
from tests.commands.test_export import run_tool
from tests.helpers.sampling import extended

pytestmark = pytest.mark.tensorflow


def pixels_and_labels(world):  # noqa: F811
    paths = sorted((world.data / "validation").glob("*/*.png"))
    images = np.stack([np.asarray(Image.open(path)) for path in paths])
    return paths, images, np.array([CLASSES.index(path.parent.name) for path in paths])


@pytest.mark.parametrize(
    ("precision", "kind"),
    [
        ("dynamic", "float32"),
        ("int8-full", "uint8"),
        *extended(("int8", "float32"), ("int8", "uint8")),
    ],
)
def test_a_run_and_its_evaluation_agree(precision, kind, world, tmp_path, capsys):  # noqa: F811
    """Top-1 of the file, as the export says, as keras-mixers evaluate says, and as NumPy says."""
    command = [world.run, tmp_path, "--precision", precision, "--input", kind, "--json"]
    status, out, _ = run_tool(capsys, *command)
    assert status == 0
    said = json.loads(out)
    path = pathlib.Path(said["file"])
    _, images, labels = pixels_and_labels(world)
    file = LiteRTModel(path)
    outputs = file.predict(images if kind == "uint8" else images.astype("float32"))
    top_1 = (outputs.argmax(axis=-1) == labels).mean()
    assert said["top_1_file"] == pytest.approx(top_1)
    assert said["top_1_model"] == pytest.approx((world.order[:, 0] == labels).mean())
    assert said["images"] == len(labels)
    assert said["agreement"] > 0.85
    _, names = exported.read_tflite(path)
    assert tuple(names) == CLASSES
    assert evaluate.main([str(path), "--data", str(world.data)]) == 0
    assert f"top-1       {top_1:.2%}" in capsys.readouterr().out


def test_files_of_images_to_labels(world, tmp_path, capsys):  # noqa: F811
    status, _, _ = run_tool(capsys, world.run, tmp_path, "--format", "savedmodel", "--top-k", 2)
    assert status == 0
    paths, _, _ = pixels_and_labels(world)
    names, probabilities = LoadedSavedModel(tmp_path / "run").classify(
        [path.read_bytes() for path in paths]
    )
    np.testing.assert_array_equal(names, np.array(CLASSES)[world.order[:, :2]])
    assert np.all(np.diff(probabilities, axis=-1) <= 0)


def test_averaged_weights(world, tmp_path, capsys):  # noqa: F811
    status, _, _ = run_tool(capsys, world.run, tmp_path, "--ema")
    assert status == 0
    x = np.random.default_rng(0).uniform(0, 255, (3, 24, 24, 3)).astype("float32")
    got = LiteRTModel(tmp_path / "run.tflite").predict(x)
    averaged = keras.models.load_model(world.run / "model_ema.keras").predict(x, verbose=0)
    np.testing.assert_allclose(got, averaged, atol=1e-4)
    assert np.abs(got - keras.models.load_model(world.run / "model.keras")(x)).max() > 1e-3


@pytest.mark.parametrize("split", ["validation", "train"])
def test_unreadable_images_have_status_1(split, world, tmp_path, capsys):  # noqa: F811
    """Those to compare on, and those to find ranges on."""
    data, out = tmp_path / "data", tmp_path / "out"
    test_evaluate.write_images(data)
    for number in range(3):
        (data / split / "bee" / f"{number}.png").write_bytes(b"no image")
    options = ("--data", data, "--precision", "int8")
    status, table, error = run_tool(capsys, world.run, out, *options)
    assert (status, table) == (1, "")
    assert f"{split} could not be read" in error
    assert "bee/0.png" in error
    assert list(out.iterdir()) == []
