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
from keras_mixers.evaluation import exported
from keras_mixers.evaluation.litert import LiteRTModel
from keras_mixers.export import metadata
from keras_mixers.export.exporter import export
from keras_mixers.export.origin import Origin
from keras_mixers.export.tflite import TFLite
from keras_mixers.preprocessing import BY_IMAGENET, TO_MINUS_ONE_ONE, TO_ZERO_ONE, Preprocessing
from keras_mixers.training.config import TrainingConfig
from tests import reference
from tests.helpers.sampling import extended

pytestmark = pytest.mark.tensorflow

LABELS = ("ant", "bee", "cow", "dog", "eel")
CLASSIFY = """
import json, sys
import mediapipe
from mediapipe.tasks.python import BaseOptions, vision
image, *models = sys.argv[1:]
found = []
for path in models:
    options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=path))
    with vision.ImageClassifier.create_from_options(options) as classifier:
        result = classifier.classify(mediapipe.Image.create_from_file(image))
    found.append({c.category_name: c.score for c in result.classifications[0].categories})
print("found", json.dumps(found))
"""


def write(model, tmp_path, precision="float32", takes_pixels=False):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, *model.input_shape[1:]), "uint8")
    kind = TFLite(precision, takes_pixels, calibration=lambda: [images])
    origin = Origin("runs/mine, step 7", labels=LABELS)
    return export(model, tmp_path / f"{precision}-{takes_pixels}.tflite", kind, origin).path


def build(preprocessing, included):
    model = keras_mixers.MLPMixer(
        input_shape=(32, 32, 3),
        classes=5,
        include_preprocessing=included,
        preprocessing=preprocessing,
        **dict(patch_size=8, hidden_dim=32, num_blocks=2, tokens_mlp_dim=16, channels_mlp_dim=64),
    )
    reference.randomize(model, np.random.default_rng(0))
    return model


ALL_KINDS = [("float32", False), ("dynamic", False), ("int8", False), ("float32", True)]
ALL_KINDS += [("int8", True), ("int8-full", True)]


@pytest.mark.parametrize(
    ("preprocessing", "included", "kinds"),
    [
        (TO_MINUS_ONE_ONE, False, [("float32", False), ("int8-full", True)]),
        *extended(
            (BY_IMAGENET, True, ALL_KINDS),
            (TO_MINUS_ONE_ONE, False, ALL_KINDS),
            # Mediapipe does not scale each color by itself, so that pixels are what it needs.
            (BY_IMAGENET, False, [("float32", True)]),
        ),
    ],
)
def test_mediapipe_finds_labels_and_scaling(preprocessing, included, kinds, rng, tmp_path):
    model = build(preprocessing, included)
    paths = [write(model, tmp_path, *kind) for kind in kinds]
    image = rng.integers(0, 256, (32, 32, 3), "uint8")
    Image.fromarray(image).save(tmp_path / "x.png")
    command = [sys.executable, "-c", CLASSIFY, tmp_path / "x.png", *paths]
    run = subprocess.run([str(a) for a in command], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads(run.stdout.split("found ")[-1])
    images = image[None].astype("float32")
    given = images if included else preprocessing.scale(images)
    exact = dict(zip(LABELS, np.asarray(model(given))[0], strict=True))
    for path, scores in zip(paths, found, strict=True):
        file = LiteRTModel(path)
        mine = file.predict(image[None] if file.takes_pixels else given)[0]
        # Mediapipe's runtime is of another version, which rounds to eight bits in another way.
        most = 1e-5 if "float32" in path.name else 0.01
        assert scores == pytest.approx(dict(zip(LABELS, mine, strict=True)), abs=most), path
        most = {"float32": 1e-5, "int8-full": 0.1}.get(path.stem.rpartition("-")[0], 0.03)
        assert scores == pytest.approx(exact, abs=most), path


@pytest.mark.parametrize(
    ("included", "takes_pixels"),
    [(False, False), *extended((True, True), (True, False), (False, True))],
)
def test_our_own_reader(included, takes_pixels, tmp_path):
    path = write(build(BY_IMAGENET, included), tmp_path, "float16", takes_pixels)
    about, labels = exported.read_tflite(path)
    assert tuple(labels) == LABELS
    assert about["description"] == "mlp_mixer, float16, exported from runs/mine, step 7"
    assert about["source"] == "runs/mine, step 7"
    assert (about["outputs"], about["probabilities_by"]) == ("probabilities", None)
    assert about["preprocessing"] == {
        "image_size": 32,
        "crop": 0.875,
        "interpolation": "bicubic",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    assert about["includes_preprocessing"] is (included or takes_pixels)
    expected = Preprocessing(32, 0.875, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert exported.preprocessing_of(about) == (expected, included or takes_pixels)


@pytest.mark.parametrize("about", [None, {}, {"pixel_range": "imagenet"}, []])
def test_older_files_do_not_say_how_images_are_prepared(about):
    assert exported.preprocessing_of(about) == (None, False)


def test_logits_are_called_so(tmp_path, rng):
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    origin = Origin(config=TrainingConfig(loss="sigmoid"))
    path = export(model, tmp_path / "m.tflite", TFLite(), origin).path
    about, labels = exported.read_tflite(path)
    assert labels is None
    assert (about["outputs"], about["probabilities_by"]) == ("logits", "sigmoid")


def test_files_without_metadata(tmp_path):
    (tmp_path / "a.tflite").write_bytes(b"TFL3" * 10)
    assert exported.read_tflite(tmp_path / "a.tflite") == (None, None)
    with zipfile.ZipFile(tmp_path / "b.tflite", "w") as container:
        container.writestr("labels.txt", "x\ny\n")
    assert exported.read_tflite(tmp_path / "b.tflite") == (None, ["x", "y"])


def tables_of(scaling, channels=3):
    about = dict.fromkeys(("name", "description", "outputs"), "x")
    image = metadata._tables(about, None, scaling, channels)[3][0][2][0]
    (unit,) = image[4]
    return unit[1], image[5]


@pytest.mark.parametrize("preprocessing", [TO_MINUS_ONE_ONE, TO_ZERO_ONE, BY_IMAGENET])
def test_the_range_of_the_input_is_that_of_scaled_pixels(preprocessing):
    _, statistics = tables_of(preprocessing.factors(3))
    for place, pixel in enumerate((255, 0)):  # The largest, the smallest.
        expected = preprocessing.scale(np.full((1, 3), pixel, "uint8"))
        np.testing.assert_allclose(statistics[place], expected[0], atol=1e-5)


def test_normalization_by_hand():
    """Mediapipe computes `(pixel - mean) / std`."""
    normalization, _ = tables_of(TO_MINUS_ONE_ONE.factors(3))
    assert normalization[0] == pytest.approx([127.5] * 3)
    assert normalization[1] == pytest.approx([127.5] * 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_normalized_by_nothing(channels):
    normalization, statistics = tables_of(None, channels)
    assert normalization == {0: [0.0] * channels, 1: [1.0] * channels}
    assert statistics == {0: [255.0] * channels, 1: [0.0] * channels}
