"""Models of other classes that hold one of ours, or scale their images in a way of their own."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_mixers.evaluation import inputs
from keras_mixers.evaluation.loading import of_keras
from keras_mixers.export import folding
from keras_mixers.export.origin import Origin
from keras_mixers.preprocessing import TO_ZERO_ONE, UNSCALED, Preprocessing
from tests import reference
from tests.models.small import build

layers = keras.layers


def wrapped(*before, rng=None):
    model = build("mlp_mixer", True, num_blocks=1, preprocessing=TO_ZERO_ONE, input_shape=(8, 8, 3))
    if rng is not None:
        reference.randomize(model, rng)
    return keras.Sequential([keras.Input((8, 8, 3)), *before, model])


def given(model, pixels, **changes):
    """What evaluation gives a model for `pixels`, and what it says."""
    loaded, said = of_keras(model, "m.keras"), []
    config = inputs.preparation(loaded, None, 1, said.append, **changes)
    return inputs.as_input(pixels, loaded, config.preprocessing), said


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 256, (2, 8, 8, 3), "uint8")


def test_ours_within_another_is_given_pixels_in_silence(pixels, caplog):
    images, said = given(wrapped(), pixels)
    np.testing.assert_array_equal(images, pixels)
    assert said == []
    origin = Origin().of(wrapped())
    assert origin.preprocessing.scales_like(TO_ZERO_ONE)
    assert folding.scales(wrapped())
    assert not caplog.records


def test_what_scales_in_its_own_way_is_given_pixels_with_a_line(pixels, caplog):
    model = wrapped(layers.Rescaling(1 / 127.5, -1))
    images, said = given(model, pixels)
    np.testing.assert_allclose(images, pixels, rtol=1e-6)
    (line,) = said
    assert line.startswith("MODEL scales its images itself, through other layers: it is given pix")
    assert Origin().of(model).preprocessing.scales_like(UNSCALED)
    assert "scales its images itself, through other layers; the file says" in caplog.text
    assert not folding.scales(model)


def test_mean_and_std_win(pixels):
    images, said = given(wrapped(layers.Rescaling(2.0)), pixels, mean=(0,), std=(1,))
    np.testing.assert_allclose(images, pixels / 255, rtol=1e-6)
    assert said == []
    own = Preprocessing(8, mean=0.1, std=0.2)
    assert Origin(preprocessing=own).of(wrapped(layers.Rescaling(2.0))).preprocessing == own


@pytest.mark.parametrize("flat", [False, True])
def test_folded_ours_within_another_computes_the_same(flat, pixels, rng):
    model = wrapped(rng=rng)
    if flat:
        inner = model.layers[-1]
        model = keras.Model(inner.input, layers.Softmax()(inner.output))
    images = pixels.astype("float32")
    np.testing.assert_allclose(folding.fold(model)(images), model(images), atol=1e-5)


@pytest.mark.parametrize(("activation", "by"), [("softmax", None), (None, "softmax")])
def test_probabilities_of_ours_within_another_are_left_as_they_are(activation, by):
    model = build("mlp_mixer", num_blocks=1, classifier_activation=activation)
    inputs = keras.Input(model.input_shape[1:])
    for outer in (keras.Sequential([inputs, model]), keras.Model(inputs, model(inputs))):
        assert Origin().probabilities_by(outer) == by
        assert Origin().probabilities_by(keras.Sequential([inputs, outer])) == by


def test_an_average_of_probabilities_gives_no_softmax_of_them():
    one, two = (build("mlp_mixer", True, num_blocks=1, name=name) for name in "ab")
    images = keras.Input(one.input_shape[1:])
    model = keras.Model(images, layers.Average()([one(images), two(images)]))
    assert Origin().probabilities_by(model) is None
    logits = build("mlp_mixer", True, num_blocks=1, classifier_activation=None)
    reference.randomize(logits, np.random.default_rng(0))
    assert Origin().probabilities_by(logits) == "softmax"


def test_what_is_given_for_an_export_wins_but_for_the_model_s_own_scaling():
    for includes in (True, False):
        model = build("mlp_mixer", includes, num_blocks=1, preprocessing=TO_ZERO_ONE)
        own = model.preprocessing
        given = dataclasses.replace(own, crop=0.5)
        found = Origin(preprocessing=given).of(model)
        assert found.preprocessing == given
        assert found.config.eval_crop == 0.5
        assert Origin().of(model).preprocessing == own
        given = dataclasses.replace(own, mean=(0.2,))
        if includes:
            with pytest.raises(ValueError, match="which scales its images itself"):
                Origin(preprocessing=given).of(model)
        else:
            assert Origin(preprocessing=given).of(model).preprocessing == given
