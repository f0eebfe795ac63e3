"""Weights for three colors in models of another number of channels."""

import logging

import keras
import numpy as np
import pytest

from keras_mixers import weights as weight_files
from keras_mixers.preprocessing import BY_IMAGENET
from tests import reference
from tests.models.small import FAMILIES, build
from tests.weights.test_foreign_files import write
from tests.weights.test_loading import assert_refused, every_format, made


def own_file(family, rng, folder, channels=3):
    """Returns a model of `channels` and the path of its weights."""
    model = build(family)
    if channels != 3:
        model = build(family, input_shape=(*model.input_shape[1:3], channels))
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape))
    path = folder / "own.weights.h5"
    model.save_weights(path)
    return model, path


def loaded(model, path, channels):
    """Returns a model like `model`, but of `channels`, with the weights at `path`."""
    return build(model.name, input_shape=(*model.input_shape[1:3], channels), weights=path)


def stem_of(model, images):
    return keras.ops.convert_to_numpy(model.get_layer("stem")(images))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_gray_image_gives_what_three_equal_colors_give(family, rng, tmp_path):
    colors, path = own_file(family, rng, tmp_path)
    gray = loaded(colors, path, 1)
    images = rng.normal(size=(2, *gray.input_shape[1:])).astype("float32")
    expected = stem_of(colors, np.repeat(images, 3, axis=-1))
    np.testing.assert_allclose(stem_of(gray, images), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        gray.get_layer("stem").projection.kernel,
        np.asarray(colors.get_layer("stem").projection.kernel).sum(axis=2, keepdims=True),
        rtol=1e-6,
        atol=1e-6,
    )


@pytest.mark.parametrize("channels", [1, 6])
def test_a_scaling_of_colors_is_compared_by_what_it_is_for_other_channels(
    channels, tmp_path, caplog
):
    model = build("mlp_mixer", preprocessing=BY_IMAGENET)
    model.save(tmp_path / "colors.keras")
    other = build("mlp_mixer", input_shape=(8, 12, channels), preprocessing=BY_IMAGENET)
    weight_files.load(other, tmp_path / "colors.keras")
    assert "they expect images prepared by" not in caplog.text


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("times", [2, 4])
def test_repeated_colors_give_what_they_gave(times, family, rng, tmp_path):
    colors, path = own_file(family, rng, tmp_path)
    many = loaded(colors, path, 3 * times)
    images = rng.normal(size=(2, *colors.input_shape[1:])).astype("float32")
    repeated = np.concatenate([images] * times, axis=-1)
    expected = stem_of(colors, images)
    np.testing.assert_allclose(stem_of(many, repeated), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("times", [1, 2])
def test_repeated_pixels_are_scaled_as_the_colors_were(times, rng, tmp_path, caplog):
    """Of a model that scales by mean and std that differ by color."""
    colors = build("smlpnet", include_preprocessing=True)
    reference.randomize(colors, rng)
    colors.save(tmp_path / "colors.keras")
    shape = (*colors.input_shape[1:3], 3 * times)
    given = dict(include_preprocessing=True, weights=tmp_path / "colors.keras")
    many = build("smlpnet", input_shape=shape, **given)
    images = rng.integers(0, 256, (2, *colors.input_shape[1:]), "uint8")
    found = many(np.concatenate([images] * times, axis=-1))
    np.testing.assert_allclose(found, colors(images), rtol=1e-4, atol=1e-5)
    assert "average" not in caplog.text


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_any_number_of_channels_takes_the_colors_in_turn(channels, rng, tmp_path):
    colors, path = own_file("mlp_mixer", rng, tmp_path)
    kernel = np.asarray(colors.get_layer("stem").projection.kernel)
    expected = np.stack([kernel[:, :, i % 3] * 3 / channels for i in range(channels)], axis=2)
    adapted = loaded(colors, path, channels).get_layer("stem").projection.kernel
    np.testing.assert_allclose(adapted, expected, rtol=1e-6)


@every_format
def test_files_of_others_are_adapted(kind, rng, tmp_path):
    arrays, suffix, build_it = made(kind, rng)
    path = write(tmp_path / f"file{suffix}", arrays)
    colors = build_it(weights=path)
    gray = build_it(weights=path, input_shape=(*colors.input_shape[1:3], 1))
    kernel = np.asarray(colors.get_layer("stem").projection.kernel)
    adapted = gray.get_layer("stem").projection.kernel
    np.testing.assert_allclose(adapted, kernel.sum(axis=2, keepdims=True), rtol=1e-5, atol=1e-6)
    for weight, same in zip(gray.weights[1:], colors.weights[1:], strict=True):
        np.testing.assert_array_equal(weight, same)


@pytest.mark.parametrize(
    ("channels", "how"), [(1, "summed"), (12, "repeated and scaled by 3 / 12"), (3, None)]
)
def test_a_line_says_so(channels, how, rng, tmp_path, caplog):
    colors, path = own_file("s2_mlp", rng, tmp_path)
    with caplog.at_level(logging.WARNING, logger="keras_mixers"):
        loaded(colors, path, channels)
    line = f"weights: the stem of 3 colors was adapted to channels={channels}: its kernel was {how}"
    of_stem = [message for message in caplog.messages if "stem" in message]
    assert of_stem == ([line] if how else [])


@pytest.mark.parametrize(("theirs", "ours"), [(1, 3), (4, 3), (4, 1), (1, 4)])
def test_weights_of_other_channels_are_refused(theirs, ours, rng, tmp_path):
    model, path = own_file("smlpnet", rng, tmp_path, channels=theirs)
    other = build("smlpnet", input_shape=(*model.input_shape[1:3], ours))
    match = rf"of another shape .* \(2, 2, {theirs}, 6\) instead of \(2, 2, {ours}, 6\)$"
    assert_refused(other, path, match)


def test_half_precision_is_summed_in_full(rng, tmp_path):
    arrays, suffix, build_it = made("google", rng)
    half = {name: value.astype("float16") for name, value in arrays.items()}
    path = write(tmp_path / f"file{suffix}", half)
    gray = build_it(input_shape=(12, 12, 1))
    weight_files.load(gray, path)
    expected = half["stem/kernel"].astype("float32").sum(axis=2, keepdims=True)
    np.testing.assert_array_equal(gray.get_layer("stem").projection.kernel, expected)
