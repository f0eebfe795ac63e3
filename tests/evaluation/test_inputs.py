"""How images reach a model: as pixels or scaled, by the options, the model or an assumption."""

import argparse
import dataclasses

import numpy as np
import pytest

from keras_mixers.commands import options as options_of
from keras_mixers.errors import SettingError, UsageError
from keras_mixers.evaluation import inputs
from keras_mixers.evaluation.loading import LoadedModel
from keras_mixers.preprocessing import BY_IMAGENET, Preprocessing
from keras_mixers.training.config import TrainingConfig

OWN = Preprocessing(16, 0.9, "bicubic", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def model(**changes):
    given = dict(name="m.keras", predict=None, output_shape=(None, 5))
    return LoadedModel(**given | dict(input_shape=(None, 16, 16, 3)) | changes)


def prepared(loaded, *options, config=None):
    parser = argparse.ArgumentParser()
    options_of.add(parser)
    said = []
    args = parser.parse_args(options)
    given = options_of.given(args) | options_of.limits(args)
    config = inputs.preparation(loaded, config, 8, said.append, **given)
    return config.preprocessing, said


def test_options_come_before_what_the_model_says():
    loaded = model(preprocessing=OWN)
    assert prepared(loaded) == (OWN, [])
    found = prepared(loaded, "--eval-crop", "1", "--interpolation", "bilinear")
    assert found == (dataclasses.replace(OWN, crop=1, interpolation="bilinear"), [])
    expected = dataclasses.replace(OWN, mean=(0,), std=(1,))
    assert prepared(loaded, "--mean", "0", "--std", "1") == (expected, [])
    with pytest.raises(SettingError, match=r"^--mean must have as many numbers as --std, .* 2 for"):
        prepared(loaded, "--mean", "0", "1", "--std", "1")


def test_a_file_that_is_no_config_is_named_as_it_was_found(tmp_path):
    (tmp_path / "config.json").write_text("[]")
    given = argparse.Namespace(model=str(tmp_path / "model.keras"), config=None)
    with pytest.raises(
        UsageError, match=r"^the file beside MODEL must be the config.json of a run"
    ):
        options_of.run_config(given, model(), print)
    given.config = str(tmp_path / "config.json")
    with pytest.raises(UsageError, match=r"^--config must be the config.json of a run"):
        options_of.run_config(given, model(), print)


def test_the_model_comes_before_the_run():
    config = TrainingConfig(mean=(0.0,), std=(1.0,), image_size=16)
    assert prepared(model(preprocessing=OWN), config=config) == (OWN, [])
    assert prepared(model(), config=config) == (Preprocessing(16, mean=0, std=1), [])


@pytest.mark.parametrize("options", [("--mean", "0.5"), ("--std", "0.5")])
def test_scaling_is_refused_where_the_model_scales(options):
    loaded = model(preprocessing=OWN, includes_preprocessing=True)
    message = "--mean and --std are for models that take scaled images: leave them out. m.keras"
    with pytest.raises(UsageError, match=message):
        prepared(loaded, *options)
    assert prepared(loaded, "--eval-crop", "1")[0] == dataclasses.replace(OWN, crop=1)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_pixels_or_scaled_images(dtype):
    images = np.array([[[[0, 100, 255]]]], dtype)
    scaled = inputs.as_input(images, model(), BY_IMAGENET)
    np.testing.assert_allclose(scaled[0, 0, 0], [-2.117904, -0.285014, 2.64], atol=1e-5)
    included = inputs.as_input(images, model(includes_preprocessing=True), BY_IMAGENET)
    assert included.dtype == "float32"
    np.testing.assert_array_equal(included, images)
    for loaded in (model(takes_pixels=True), model(takes_pixels=True, includes_preprocessing=True)):
        pixels = inputs.as_input(images, loaded, BY_IMAGENET)
        assert pixels.dtype == "uint8"
        np.testing.assert_array_equal(pixels, images)


def test_pixels_are_rounded_and_kept_within_bytes():
    images = np.array([[[[-3.0, 99.6, 260.0]]]])
    pixels = inputs.as_input(images, model(takes_pixels=True), BY_IMAGENET)
    np.testing.assert_array_equal(pixels[0, 0, 0], [0, 100, 255])
