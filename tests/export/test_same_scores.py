"""The same decoded pixels have the same scores in every format."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from keras_mixers.evaluation.litert import LiteRTModel
from keras_mixers.evaluation.saved_model import LoadedSavedModel
from keras_mixers.export.exporter import export
from keras_mixers.export.origin import Origin
from keras_mixers.export.saved_model import SavedModel
from keras_mixers.export.tflite import TFLite
from keras_mixers.preprocessing import BY_IMAGENET, TO_MINUS_ONE_ONE, TO_ZERO_ONE
from tests import reference
from tests.helpers.image_files import encode
from tests.helpers.sampling import extended
from tests.models.small import SHORT, build

pytestmark = pytest.mark.tensorflow

LABELS = ("ant", "bee", "cow", "dog", "eel")
SCALED = {
    "minus_one_one": lambda pixels: pixels / 127.5 - 1,
    "zero_one": lambda pixels: pixels / 255,
    "imagenet": lambda pixels: (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
}
PREPROCESSING = {
    "minus_one_one": TO_MINUS_ONE_ONE,
    "zero_one": TO_ZERO_ONE,
    "imagenet": BY_IMAGENET,
}


@pytest.mark.parametrize(
    ("family", "kind", "included"),
    [
        ("mlp_mixer", "zero_one", False),
        ("s2_mlp", "imagenet", True),
        *extended(
            ("mlp_mixer", "minus_one_one", True),
            ("mlp_mixer", "minus_one_one", False),
            ("mlp_mixer", "zero_one", True),
            ("s2_mlp", "imagenet", False),
            ("smlpnet", "imagenet", True),
            ("smlpnet", "imagenet", False),
        ),
    ],
)
def test_the_same_pixels_have_the_same_scores(family, kind, included, rng, tmp_path):
    # Files of the model's own size, uncropped, are the decoded pixels.
    preprocessing = dataclasses.replace(PREPROCESSING[kind], crop=1.0)
    model = build(
        family,
        input_shape=(16, 16, 3),
        preprocessing=preprocessing,
        include_preprocessing=included,
        **SHORT[family],
    )
    weights = reference.randomize(model, rng)
    pixels = rng.integers(0, 256, (4, 16, 16, 3), "uint8")
    images = pixels.astype("float32")
    given = images if included else SCALED[kind](images).astype("float32")
    expected = np.asarray(model(given))
    assert np.ptp(expected, axis=0).max() > 0.01
    # Keras itself, against a model that knows no scaling.
    plain = build(family, input_shape=(16, 16, 3), **SHORT[family])
    for weight in plain.weights:
        weight.assign(weights[weight.path])
    scaled = SCALED[kind](images).astype("float32")
    np.testing.assert_allclose(np.asarray(plain(scaled)), expected, atol=1e-4)

    origin = Origin(labels=LABELS)
    export(model, tmp_path / "saved", SavedModel(), origin)
    serve = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    ((entry, _),) = serve.structured_input_signature[1].items()
    (served,) = serve(**{entry: tf.constant(given)}).values()
    np.testing.assert_allclose(served, expected, atol=1e-4)

    files = [encode(image, "PNG") for image in pixels]
    labels, probabilities = LoadedSavedModel(tmp_path / "saved").classify(files)
    for found, scores, right in zip(labels, probabilities, expected, strict=True):
        by_label = dict(zip(found, scores, strict=True))
        np.testing.assert_allclose([by_label[name] for name in LABELS], right, atol=1e-4)

    export(model, tmp_path / "float.tflite", TFLite(), origin)
    np.testing.assert_allclose(
        LiteRTModel(tmp_path / "float.tflite").predict(given), expected, atol=1e-4
    )
    export(model, tmp_path / "pixels.tflite", TFLite(takes_pixels=True), origin)
    file = LiteRTModel(tmp_path / "pixels.tflite")
    assert file.takes_pixels
    np.testing.assert_allclose(file.predict(pixels), expected, atol=1e-4)
