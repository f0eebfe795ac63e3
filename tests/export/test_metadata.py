"""What the libraries of phones find in a file, by one of these libraries itself."""

import json
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from PIL import Image

import keras_mixers
from keras_mixers.evaluation.litert import LiteRTModel
from keras_mixers.export import metadata
from keras_mixers.export.exporter import export
from keras_mixers.export.origin import Origin
from keras_mixers.export.tflite import TFLite
from keras_mixers.preprocessing import pixels
from keras_mixers.training.config import TrainingConfig
from tests import reference

pytestmark = pytest.mark.tensorflow

LABELS = ("ant", "bee", "cow", "dog", "eel")
CLASSIFY = """
import json, sys
import mediapipe
from mediapipe.tasks.python import BaseOptions, vision
picture, *models = sys.argv[1:]
found = []
for path in models:
    options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=path))
    with vision.ImageClassifier.create_from_options(options) as classifier:
        result = classifier.classify(mediapipe.Image.create_from_file(picture))
    found.append({c.category_name: c.score for c in result.classifications[0].categories})
print("found", json.dumps(found))
"""


def write(model, tmp_path, precision, takes_pixels, pixel_range):
    rng = np.random.default_rng(0)
    pictures = rng.uniform(-2, 2, (8, *model.input_shape[1:])).astype("float32")
    kind = TFLite(precision, takes_pixels, calibration=lambda: [pictures])
    origin = Origin("runs/mine, step 7", TrainingConfig(pixel_range=pixel_range), LABELS)
    return export(model, tmp_path / f"{precision}-{takes_pixels}.tflite", kind, origin).path


@pytest.fixture
def model(rng):
    model = keras_mixers.MLPMixer(
        input_shape=(32, 32, 3),
        classes=5,
        patch_size=8,
        hidden_dim=32,
        num_blocks=2,
        tokens_mlp_dim=16,
        channels_mlp_dim=64,
    )
    reference.randomize(model, rng)
    return model


@pytest.mark.parametrize(
    ("pixel_range", "preprocess_input", "kinds"),
    [
        (
            "minus_one_one",
            keras_mixers.mlp_mixer.preprocess_input,
            [("float32", False), ("dynamic", False), ("int8", False), ("int8", True)],
        ),
        # Mediapipe does not scale each colour by itself, so that pixels are what it needs.
        (
            "imagenet",
            keras_mixers.smlpnet.preprocess_input,
            [("float32", True), ("int8", True), ("int8-full", True)],
        ),
    ],
)
def test_mediapipe_finds_labels_and_scaling(
    pixel_range, preprocess_input, kinds, model, rng, tmp_path
):
    paths = [write(model, tmp_path, *kind, pixel_range) for kind in kinds]
    picture = rng.integers(0, 256, (32, 32, 3), "uint8")
    Image.fromarray(picture).save(tmp_path / "x.png")
    command = [sys.executable, "-c", CLASSIFY, tmp_path / "x.png", *paths]
    run = subprocess.run([str(a) for a in command], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads(run.stdout.split("found ")[-1])
    scaled = preprocess_input(picture[None])
    exact = dict(zip(LABELS, model.predict(scaled, verbose=0)[0], strict=True))
    for path, scores in zip(paths, found, strict=True):
        file = LiteRTModel(path)
        mine = file.predict(picture[None] if file.takes_pixels else scaled)[0]
        # Mediapipe's runtime is of another version, which rounds to eight bits in another way.
        most = 1e-5 if "float32" in path.name else 0.01
        assert scores == pytest.approx(dict(zip(LABELS, mine, strict=True)), abs=most), path
        most = {"float32": 1e-5, "int8-full": 0.1}.get(path.stem.rpartition("-")[0], 0.03)
        assert scores == pytest.approx(exact, abs=most), path


def test_our_own_reader(model, tmp_path):
    about, labels = metadata.read(write(model, tmp_path, "float16", False, "imagenet"))
    assert tuple(labels) == LABELS
    assert about["description"] == "mlp_mixer, float16, exported from runs/mine, step 7"
    assert about["source"] == "runs/mine, step 7"
    assert (about["outputs"], about["probabilities_by"]) == ("probabilities", None)
    assert about["pixel_range"] == "imagenet"


def test_logits_are_called_so(tmp_path, rng):
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    for loss in ("softmax", "sigmoid"):
        origin = Origin(config=TrainingConfig(loss=loss))
        path = export(model, tmp_path / "m.tflite", TFLite(), origin).path
        about, labels = metadata.read(path)
        assert labels is None
        assert (about["outputs"], about["probabilities_by"]) == ("logits", loss)


def test_files_without_metadata(tmp_path):
    (tmp_path / "a.tflite").write_bytes(b"TFL3" * 10)
    assert metadata.read(tmp_path / "a.tflite") == (None, None)
    with zipfile.ZipFile(tmp_path / "b.tflite", "w") as container:
        container.writestr("labels.txt", "x\ny\n")
    assert metadata.read(tmp_path / "b.tflite") == (None, ["x", "y"])


@pytest.mark.parametrize("pixel_range", ["minus_one_one", "imagenet"])
def test_the_range_of_the_input_is_that_of_scaled_pixels(pixel_range):
    about = dict.fromkeys(("name", "description", "outputs"), "x")
    tables = metadata._tables(about, None, pixels.factors(pixel_range), channels=3)
    statistics = tables[3][0][2][0][5]
    for place, pixel in enumerate((255, 0)):  # The largest, the smallest.
        expected = pixels.scale(np.full((1, 3), pixel, "uint8"), pixel_range)
        np.testing.assert_allclose(statistics[place], np.asarray(expected)[0], atol=1e-5)
