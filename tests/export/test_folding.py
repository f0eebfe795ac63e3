import keras
import numpy as np
import pytest

from keras_mixers.export import folding
from keras_mixers.layers import PatchEmbedding
from keras_mixers.preprocessing import (
    BY_IMAGENET,
    TO_MINUS_ONE_ONE,
    TO_ZERO_ONE,
    ImagePreprocessing,
)
from tests import reference
from tests.models.small import FAMILIES, build, outputs

pytestmark = pytest.mark.tensorflow


def some_pixels(model, rng):
    return rng.integers(0, 256, (4, *model.input_shape[1:])).astype("float32")


every_family = pytest.mark.parametrize("family", FAMILIES)
every_scaling = pytest.mark.parametrize(
    "preprocessing", [TO_MINUS_ONE_ONE, TO_ZERO_ONE, BY_IMAGENET]
)


@every_family
@every_scaling
def test_the_model_s_own_scaling_goes_into_the_first_projection(family, preprocessing, rng):
    options = dict(classifier_activation=None, preprocessing=preprocessing)
    model = build(family, include_preprocessing=True, **options)
    reference.randomize(model, rng)
    x = some_pixels(model, rng)
    folded = folding.fold(model)
    np.testing.assert_allclose(folded(x), model(x), atol=2e-5)
    assert [layer.name for layer in folded.layers] == [layer.name for layer in model.layers]
    assert folded.get_layer("stem").use_bias
    assert folded.get_layer("preprocessing").scales is False
    assert model.get_layer("preprocessing").scales is True
    assert folding.scales(model)


@every_family
@every_scaling
def test_scaling_from_outside_goes_into_the_first_projection(family, preprocessing, rng):
    model = build(family, classifier_activation=None)
    reference.randomize(model, rng)
    x = some_pixels(model, rng)
    folded = folding.fold(model, preprocessing.factors(3))
    expected = keras.ops.convert_to_numpy(model(preprocessing.scale(x)))
    np.testing.assert_allclose(folded(x), expected, atol=2e-5)
    assert folded.get_layer("stem").use_bias
    assert not folding.scales(model)


def test_scaling_is_folded_once(rng):
    """A model that scales its images is not scaled again by what is given."""
    model = build("mlp_mixer", include_preprocessing=True)
    reference.randomize(model, rng)
    x = some_pixels(model, rng)
    folded = folding.fold(model, TO_ZERO_ONE.factors(3))
    np.testing.assert_allclose(folded(x), model(x), atol=1e-5)


def test_scaling_stays_where_something_comes_before_it(rng):
    inputs = keras.Input((8, 12, 3))
    before = keras.layers.Rescaling(0.5)(inputs)
    model = build("mlp_mixer", input_shape=None, input_tensor=before, include_preprocessing=True)
    reference.randomize(model, rng)
    x = some_pixels(model, rng)
    folded = folding.fold(model)
    assert folded.get_layer("preprocessing").scales is True
    np.testing.assert_allclose(folded(x), model(x), atol=1e-5)


def test_the_norm_before_the_head_goes_into_the_head(rng):
    model = build("smlpnet", classifier_activation=None)
    reference.randomize(model, rng)
    folded = folding.fold(model)
    x = rng.normal(size=(4, *model.input_shape[1:])).astype("float32")
    expected = outputs(model, x)
    np.testing.assert_allclose(outputs(folded, x), expected, atol=1e-5)
    norms = [isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers]
    left = [isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers]
    assert sum(norms) - sum(left) == 1
    assert not folded.get_layer("pre_head_batch_norm").weights


@pytest.mark.parametrize("arguments", [{"scale": False}, {"center": False}, {}])
def test_norms_of_any_kind(arguments, rng):
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.BatchNormalization(**arguments)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
    reference.randomize(model, rng)
    folded = folding.fold(model)
    assert len(folded.weights) == 2
    x = rng.normal(size=(4, 4, 4, 3)).astype("float32")
    np.testing.assert_allclose(outputs(folded, x), outputs(model, x), atol=1e-5)


def test_a_norm_that_others_need_is_kept(rng):
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.BatchNormalization(name="norm")(inputs)
    mean = keras.layers.GlobalAveragePooling2D()(x)
    summed = keras.layers.Dense(2)(mean) + keras.layers.GlobalMaxPooling2D()(x)[:, :2]
    model = keras.Model(inputs, summed)
    reference.randomize(model, rng)
    x = rng.normal(size=(4, 4, 4, 3)).astype("float32")
    folded = folding.fold(model)
    assert folded.get_layer("norm").weights
    np.testing.assert_allclose(outputs(folded, x), outputs(model, x), atol=1e-5)


@pytest.mark.parametrize("axis", [1, 2])
def test_a_norm_of_another_axis_is_kept(axis, rng):
    inputs = keras.Input((3, 3, 3))
    x = keras.layers.BatchNormalization(axis=axis, name="norm")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
    reference.randomize(model, rng)
    folded = folding.fold(model)
    x = rng.normal(size=(4, 3, 3, 3)).astype("float32")
    np.testing.assert_allclose(outputs(folded, x), outputs(model, x), atol=1e-5)


def test_a_first_projection_that_is_called_twice_is_left(rng):
    """What it is given the second time are no pixels."""
    inputs = keras.Input((8, 8, 3))
    preprocessing = ImagePreprocessing(BY_IMAGENET)
    stem = PatchEmbedding(3, 2, name="stem")
    x = stem(keras.layers.UpSampling2D()(stem(preprocessing(inputs))))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
    reference.randomize(model, rng)
    x = some_pixels(model, rng)
    np.testing.assert_allclose(outputs(folding.fold(model), x), outputs(model, x), atol=1e-4)


def test_a_model_that_is_not_ours_is_scaled_by_a_layer(rng):
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, padding="same")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    x = some_pixels(model, rng)
    folded = folding.fold(model, BY_IMAGENET.factors(3))
    expected = outputs(model, BY_IMAGENET.scale(x))
    np.testing.assert_allclose(outputs(folded, x), expected, atol=1e-5)


class OneOfAUser(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(2)

    def build(self, input_shape):
        self.dense.build((None, input_shape[-1]))

    def call(self, inputs):
        return self.dense(keras.ops.mean(inputs, axis=(1, 2)))


def test_a_subclass_is_left_as_it_is(rng):
    inner = OneOfAUser()
    inner.build((None, 4, 4, 3))
    assert folding.fold(inner) is inner


def test_half_precision_becomes_float32(rng):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = build("smlpnet", classifier_activation=None)
    keras.config.set_dtype_policy("float32")
    reference.randomize(model, rng)
    for twin in (folding.fold(model), folding.in_float32(model)):
        assert {layer.compute_dtype for layer in twin.layers} == {"float32"}
    x = rng.normal(size=(4, *model.input_shape[1:])).astype("float32")
    np.testing.assert_allclose(
        outputs(folding.fold(model), x),
        outputs(folding.in_float32(model), x),
        atol=1e-5,
    )
