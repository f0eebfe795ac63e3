import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import keras_mixers
from keras_mixers.export.exporter import export
from keras_mixers.export.origin import Origin
from keras_mixers.export.saved_model import LoadedSavedModel, SavedModel
from keras_mixers.preprocessing import cropping
from keras_mixers.training.config import TrainingConfig
from tests import reference
from tests.helpers.image_files import encode
from tests.models import small

pytestmark = pytest.mark.tensorflow

LABELS = ("ant", "bee", "cow", "dog", "eel")


def build(rng, channels=3, **arguments):
    model = keras_mixers.SMLPNet(
        input_shape=(16, 16, channels),
        **dict(classes=5, hidden_dim=8, depths=(1, 1), patch_size=2) | arguments,
    )
    reference.randomize(model, rng)
    return model


def softmax(x):
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(
    ("activation", "loss", "probabilities"),
    [(None, "softmax", softmax), (None, "sigmoid", sigmoid), ("softmax", "sigmoid", lambda x: x)],
)
def test_classify_prepares_pictures_as_the_evaluation(
    activation, loss, probabilities, rng, tmp_path
):
    """JPEG and PNG of different sizes, in another process that has no keras_mixers."""
    model = build(rng, classifier_activation=activation)
    config = TrainingConfig(pixel_range="imagenet", eval_crop=0.75, loss=loss, image_size=16)
    origin = Origin(config=config, labels=LABELS)
    result = export(model, tmp_path / "m", SavedModel(top_k=3), origin)
    assert result.agrees
    sizes = [(30, 40), (61, 33), (16, 16)]
    pictures = [rng.integers(0, 256, (*size, 3), "uint8") for size in sizes]
    files = [encode(x, kind) for x, kind in zip(pictures, ("PNG", "JPEG", "PNG"), strict=True)]
    prepared = np.stack([cropping.central_crop(data, config) for data in files])
    outputs = model.predict(keras_mixers.smlpnet.preprocess_input(prepared), verbose=0)
    expected = probabilities(outputs)
    order = np.argsort(-expected, axis=-1)[:, :3]
    for number, data in enumerate(files):
        (tmp_path / str(number)).write_bytes(data)
    code = (
        "import sys, numpy as np, tensorflow as tf; folder, *files = sys.argv[1:]; "
        "classify = tf.saved_model.load(folder + '/m').signatures['classify']; "
        "found = classify(image_bytes=tf.constant([open(f, 'rb').read() for f in files])); "
        "np.savez(folder + '/found', **{k: v.numpy().astype('U' if k == 'labels' else 'f4') "
        "for k, v in found.items()}); "
        "assert not {'keras_mixers', 'recipes', 'tools'} & set(sys.modules)"
    )
    arguments = [tmp_path, *(tmp_path / str(number) for number in range(3))]
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True, cwd=tmp_path)
    found = np.load(tmp_path / "found.npz")
    np.testing.assert_array_equal(found["labels"], np.array(LABELS)[order])
    best = np.take_along_axis(expected, order, axis=-1)
    np.testing.assert_allclose(found["probabilities"], best, atol=1e-5)


def test_serving_default_takes_any_number_of_pictures(rng, tmp_path):
    model = build(rng, classifier_activation=None)
    export(model, tmp_path / "m", SavedModel())
    loaded = tf.saved_model.load(str(tmp_path / "m"))
    for count in (1, 5):
        x = rng.normal(size=(count, 16, 16, 3)).astype("float32")
        (got,) = loaded.signatures["serving_default"](tf.constant(x)).values()
        np.testing.assert_allclose(got, model.predict(x, verbose=0), atol=1e-5)


def test_one_channel(rng, tmp_path):
    """A colour picture is seen in gray; classes without names are numbers."""
    model = build(rng, channels=1, classifier_activation=None)
    config = TrainingConfig(eval_crop=1.0, image_size=16, loss="softmax")
    export(model, tmp_path / "m", SavedModel(), Origin(config=config))
    picture = rng.integers(0, 256, (16, 16, 3), "uint8")
    gray = np.round(picture @ [0.2989, 0.587, 0.114])[None, ..., None]
    expected = softmax(model.predict((gray / 127.5 - 1).astype("float32"), verbose=0))[0]
    labels, probabilities = LoadedSavedModel(tmp_path / "m").classify([encode(picture, "PNG")])
    np.testing.assert_array_equal(labels[0], np.argsort(-expected).astype(str))
    np.testing.assert_allclose(probabilities[0], np.sort(expected)[::-1], atol=0.01)


def test_what_cannot_classify_files_serves_pictures(rng, tmp_path):
    """A model without a classifier, and one of pictures that are not square."""
    for name, model in (
        ("features", build(rng, include_top=False)),
        ("wide", small.build("smlpnet")),
    ):
        assert export(model, tmp_path / name, SavedModel()).agrees
        signatures = tf.saved_model.load(str(tmp_path / name)).signatures
        assert sorted(signatures) == ["serve", "serving_default"]


def test_top_k_is_at_most_the_number_of_classes(rng, tmp_path):
    model = build(rng, classifier_activation=None)
    config = dataclasses.replace(TrainingConfig(), image_size=16)
    export(model, tmp_path / "m", SavedModel(top_k=50), Origin(config=config))
    labels, _ = LoadedSavedModel(tmp_path / "m").classify(
        [encode(rng.integers(0, 256, (20, 20, 3), "uint8"), "PNG")]
    )
    assert sorted(labels[0]) == list("01234")
