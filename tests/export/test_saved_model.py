import dataclasses
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from etils import epath

import keras_mixers
from keras_mixers.evaluation import exported
from keras_mixers.evaluation.loading import read_model
from keras_mixers.evaluation.saved_model import LoadedSavedModel
from keras_mixers.export.exporter import export
from keras_mixers.export.origin import Origin
from keras_mixers.export.saved_model import SavedModel
from keras_mixers.preprocessing import BY_IMAGENET, TO_MINUS_ONE_ONE
from keras_mixers.training.config import TrainingConfig
from tests import reference
from tests.helpers.image_files import encode
from tests.models import small

pytestmark = pytest.mark.tensorflow

LABELS = ("ant", "bee", "cow", "dog", "eel")


def build(rng, channels=3, **arguments):
    model = keras_mixers.SMLPNet(
        input_shape=(16, 16, channels),
        **dict(classes=5, hidden_dim=8, depths=(1,), patch_size=2) | arguments,
    )
    reference.randomize(model, rng)
    return model


def preprocessing_of_16(preprocessing):
    return dataclasses.replace(preprocessing, image_size=16)


def softmax(x):
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# Outputs, the loss of their training, the probabilities, and whether the model scales its images.
CASES = {
    "softmax": (None, "softmax", softmax, True),
    "sigmoid": (None, "sigmoid", sigmoid, False),
    "probabilities": ("softmax", "sigmoid", lambda x: x, True),
}
CLASSIFY = (
    "import sys, numpy as np, tensorflow as tf; folder, *names = sys.argv[1:]\n"
    "files = tf.constant([open(f'{folder}/{i}', 'rb').read() for i in range(3)])\n"
    "for name in names:\n"
    "    classify = tf.saved_model.load(f'{folder}/{name}').signatures['classify']\n"
    "    found = classify(image_bytes=files).items()\n"
    "    np.savez(f'{folder}/{name}', **{k: v.numpy().astype('U' if k == 'labels' else 'f4') "
    "for k, v in found})\n"
    "assert not {'keras_mixers', 'recipes', 'tools'} & set(sys.modules)"
)


PREPROCESSING = dataclasses.replace(BY_IMAGENET, crop=0.75)


@dataclasses.dataclass(frozen=True)
class Classified:
    folder: pathlib.Path
    """With a SavedModel of each case, and what another process found with it."""
    expected: dict


@pytest.fixture(scope="module")
def classified(tmp_path_factory):
    """What three files in another process, without keras_mixers, classify; and what is right.

    They are JPEG and PNG of different sizes.
    """
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("classified")
    preprocessing = PREPROCESSING
    sizes = [(30, 40), (61, 33), (16, 16)]
    images = [rng.integers(0, 256, (*size, 3), "uint8") for size in sizes]
    files = [encode(x, kind) for x, kind in zip(images, ("PNG", "JPEG", "PNG"), strict=True)]
    for number, data in enumerate(files):
        (folder / str(number)).write_bytes(data)
    prepared = np.stack([preprocessing_of_16(preprocessing).pixels(data) for data in files])
    expected = {}
    for name, (activation, loss, probabilities, included) in CASES.items():
        options = dict(preprocessing=preprocessing, include_preprocessing=included)
        model = build(rng, classifier_activation=activation, **options)
        origin = Origin(config=TrainingConfig(loss=loss), labels=LABELS)
        assert export(model, folder / name, SavedModel(top_k=3), origin).agrees
        given = prepared if included else preprocessing.scale(prepared)
        expected[name] = probabilities(np.asarray(model(given)))
    command = [sys.executable, "-c", CLASSIFY, str(folder), *CASES]
    subprocess.run(command, check=True, cwd=folder)
    return Classified(folder, expected)


@pytest.mark.parametrize("name", CASES)
def test_classify_prepares_images_as_the_evaluation(name, classified):
    found, expected = np.load(classified.folder / f"{name}.npz"), classified.expected[name]
    order = np.argsort(-expected, axis=-1)[:, :3]
    np.testing.assert_array_equal(found["labels"], np.array(LABELS)[order])
    best = np.take_along_axis(expected, order, axis=-1)
    np.testing.assert_allclose(found["probabilities"], best, atol=1e-5)


def test_it_takes_any_number_of_images_and_names_no_more_classes_than_there_are(rng, tmp_path):
    model = build(rng, classifier_activation=None)
    export(model, tmp_path / "m", SavedModel(top_k=50))
    labels, _ = LoadedSavedModel(tmp_path / "m").classify(
        [encode(rng.integers(0, 256, (20, 20, 3), "uint8"), "PNG")]
    )
    assert sorted(labels[0]) == list("01234")
    loaded = tf.saved_model.load(str(tmp_path / "m"))
    for count in (1, 5):
        x = rng.integers(0, 256, (count, 16, 16, 3)).astype("float32")
        (got,) = loaded.signatures["serving_default"](tf.constant(x)).values()
        np.testing.assert_allclose(got, small.outputs(model, x), atol=1e-5)


@pytest.mark.parametrize(("name", "included"), [("softmax", True), ("sigmoid", False)])
def test_what_it_says_of_its_images(name, included, classified):
    path = classified.folder / name
    about, labels = exported.read_saved_model(path)
    assert about["preprocessing"] == {
        "image_size": 16,
        "crop": 0.75,
        "interpolation": "bicubic",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    assert about["includes_preprocessing"] is included
    assert tuple(labels) == LABELS
    loaded, expected = read_model(epath.Path(path)), preprocessing_of_16(PREPROCESSING)
    assert (loaded.preprocessing, loaded.includes_preprocessing) == (expected, included)
    assert SavedModel().load(path).includes_preprocessing is included


def test_one_channel(rng, tmp_path):
    """A color image is seen in gray; classes without names are numbers."""
    preprocessing = dataclasses.replace(TO_MINUS_ONE_ONE, crop=1.0)
    model = build(rng, channels=1, classifier_activation=None, preprocessing=preprocessing)
    export(model, tmp_path / "m", SavedModel())
    image = rng.integers(0, 256, (16, 16, 3), "uint8")
    gray = np.round(image @ [0.2989, 0.587, 0.114])[None, ..., None]
    expected = softmax(small.outputs(model, gray.astype("float32")))[0]
    labels, probabilities = LoadedSavedModel(tmp_path / "m").classify([encode(image, "PNG")])
    np.testing.assert_array_equal(labels[0], np.argsort(-expected).astype(str))
    np.testing.assert_allclose(probabilities[0], np.sort(expected)[::-1], atol=0.01)


def test_what_cannot_classify_files_serves_images(rng, tmp_path):
    """A model without a classifier, and one of images that are not square."""
    for name, model in (
        ("features", build(rng, include_top=False)),
        ("wide", small.build("mlp_mixer", num_blocks=1)),
    ):
        assert export(model, tmp_path / name, SavedModel()).agrees
        signatures = tf.saved_model.load(str(tmp_path / name)).signatures
        assert sorted(signatures) == ["serve", "serving_default"]
