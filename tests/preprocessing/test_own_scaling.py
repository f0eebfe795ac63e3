"""Our layer, or another that scales, anywhere in a Keras model."""

import threading

import keras
import numpy as np
import pytest

from keras_mixers.preprocessing import BY_IMAGENET, ImagePreprocessing, own_scaling

SHAPE = (4, 6, 3)
layers = keras.layers


def ours(scales=True):
    inputs = keras.Input(SHAPE)
    x = ImagePreprocessing(BY_IMAGENET, scales)(inputs)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


def behind(*before, scales=True):
    return keras.Sequential([keras.Input(SHAPE), *before, ours(scales)])


def flat(model):
    return keras.Model(model.inputs, layers.Softmax()(model.outputs[0]))


def twice():
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, layers.Average()([ours()(inputs), ours()(inputs)]))


class Subclass(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = ours()

    def call(self, images):
        return self.inner(images)


def subclass():
    model = Subclass()
    model(np.zeros((1, *SHAPE), "float32"))
    model.input_shape = (None, *SHAPE)
    return model


@pytest.mark.filterwarnings("ignore:The structure of `inputs`")
@pytest.mark.parametrize(
    "model",
    [
        ours,
        behind,
        lambda: flat(ours()),
        lambda: flat(behind()),
        lambda: behind(layers.Identity(), layers.RandomFlip()),
        subclass,
    ],
)
def test_what_is_given_the_images_is_the_model_s_own(model):
    model = model()
    assert own_scaling.of(model) == (BY_IMAGENET, True, None)
    images = np.ones((1, *SHAPE), "float32")
    assert model(images).shape == (1, 2)  # Nothing of the trial is left in it.


def test_images_that_are_scaled_already():
    assert own_scaling.of(behind(scales=False)) == (BY_IMAGENET, False, None)


@pytest.mark.parametrize(
    ("model", "clause"),
    [
        (lambda: behind(layers.Rescaling(1 / 255)), "itself, through other layers"),
        (lambda: behind(layers.Rescaling(1 / 255, name="by"), scales=False), "by its layer 'by'"),
        (twice, "in 2 places"),
        (
            lambda: keras.Sequential(
                [keras.Input(SHAPE), layers.Normalization(mean=9.0, variance=4.0, name="n")]
            ),
            "by its layer 'n'",
        ),
    ],
)
def test_scaling_in_a_way_of_its_own_is_noted(model, clause):
    preprocessing, included, note = own_scaling.of(model())
    assert (preprocessing, included) == (None, False)
    assert note.startswith("the model scales its images itself")
    assert note.endswith(clause)


def test_a_model_that_does_not_scale_says_nothing():
    inputs = keras.Input(SHAPE)
    late = layers.Rescaling(0.5)(layers.Conv2D(2, 1)(inputs))
    assert own_scaling.of(keras.Model(inputs, late)) == (None, False, None)


def test_beside_another_layer_that_scales_ours_that_does_not_is_not_believed():
    inputs = keras.Input(SHAPE)
    other = layers.Dense(2)(layers.Flatten()(layers.Rescaling(1 / 255, name="theirs")(inputs)))
    model = keras.Model(inputs, layers.Average()([ours(scales=False)(inputs), other]))
    found = own_scaling.of(model)
    assert (found.preprocessing, found.included) == (None, False)
    assert found.note == "the model scales its images itself, by its layer 'theirs'"


def test_who_uses_the_model_meanwhile_and_a_call_of_the_user_are_left_alone():
    model, results = ours(), []
    first, second = (model.get_layer(index=i) for i in (1, 2))
    other = np.full((1, *SHAPE), 7, "float32")

    def use():
        results.extend((first.call(other), second.call(other)))

    def call(images):
        """The user's; while the model is tried, another thread uses its layers."""
        if threading.current_thread() is threading.main_thread():
            thread = threading.Thread(target=use)
            thread.start()
            thread.join()
        return images

    vars(first)["call"] = call
    assert own_scaling._given_the_images(model, [first, second]) == [first, second]
    assert vars(first)["call"] is call
    assert "call" not in vars(second)
    assert [tuple(result.shape) for result in results] == [(1, *SHAPE), (1, 72)]
