"""Each operation against Pillow, and how they are drawn."""

import os
import pathlib
import random
import subprocess
import sys

import numpy as np
import pytest
import sklearn.datasets
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from keras_mixers.data import augmentation
from keras_mixers.data import image_operations as ops
from keras_mixers.data import rand_augment as ra

ROOT = pathlib.Path(__file__).resolve().parents[2]
# A landscape format with a sky, a roof and a few hundred colors; not square, so that what swaps
# the sides is seen.
PHOTO = np.ascontiguousarray(sklearn.datasets.load_sample_images().images[0][60:160:2, 200:340:2])
RECIPES = {"mixer": ra.MIXER_RECIPE, "deit": ra.DEIT_RECIPE}


def pillow(change, *arguments):
    return np.array(change(Image.fromarray(PHOTO), *arguments))


def enhanced(kind, factor):
    return np.array(getattr(ImageEnhance, kind)(Image.fromarray(PHOTO)).enhance(factor))


def affine(a, b, c, d, e, f):
    """Pillow's, told where the middles of pixels are rather than their corners."""
    matrix = (a, b, c + 0.5 - (a + b) / 2, d, e, f + 0.5 - (d + e) / 2)
    image = Image.fromarray(PHOTO)
    settings = dict(resample=Image.Resampling.BILINEAR, fillcolor=(128, 128, 128))
    return np.array(image.transform(image.size, Image.Transform.AFFINE, matrix, **settings))


def moved(rows, columns):
    """The photograph moved up and left, gray where nothing was."""
    height, width, _ = PHOTO.shape
    result = np.full_like(PHOTO, 128)
    for y in range(height):
        for x in range(width):
            if 0 <= y + rows < height and 0 <= x + columns < width:
                result[y, x] = PHOTO[y + rows, x + columns]
    return result


def in_graph(change, *arguments):
    """What tf.data makes of the photograph; the shape must be known in advance."""
    data = tf.data.Dataset.from_tensors(tf.constant(PHOTO)).map(lambda x: change(x, *arguments))
    assert data.element_spec == tf.TensorSpec(PHOTO.shape, tf.uint8)
    (result,) = data.as_numpy_iterator()
    return result


def assert_close(ours, theirs, levels):
    difference = np.abs(ours.astype(int) - theirs.astype(int))
    assert difference.max() <= levels
    assert np.abs(theirs.astype(int) - PHOTO).mean() > 1  # Something was to be changed.


def test_auto_contrast_is_pillows():
    dull = (PHOTO // 3 + np.array([10, 40, 80])).astype("uint8")
    ours = np.array(ops.auto_contrast(tf.constant(dull)))
    theirs = np.array(ImageOps.autocontrast(Image.fromarray(dull)))
    assert_close(ours, theirs, 1)
    # Pillow's brightest may come out as 254.99, cut to 254.
    assert (ours != theirs).mean() < 1e-3
    np.testing.assert_array_equal(ours.min(axis=(0, 1)), 0)
    np.testing.assert_array_equal(ours.max(axis=(0, 1)), 255)


def test_equalize_is_pillows():
    np.testing.assert_array_equal(in_graph(ops.equalize), pillow(ImageOps.equalize))
    assert_close(in_graph(ops.equalize), pillow(ImageOps.equalize), 0)


@pytest.mark.parametrize("change", [ops.auto_contrast, ops.equalize])
def test_a_channel_of_one_value_stays(change):
    image = PHOTO.copy()
    image[..., 1] = 77
    changed = np.array(change(tf.constant(image)))
    np.testing.assert_array_equal(changed[..., 1], image[..., 1])
    assert (changed[..., 0] != image[..., 0]).any()


def test_invert_is_pillows():
    np.testing.assert_array_equal(in_graph(ops.invert), pillow(ImageOps.invert))


@pytest.mark.parametrize("bits", range(9))
def test_posterize_is_pillows(bits):
    # Pillow itself refuses 0 bits today; its earlier versions turned the image black.
    theirs = pillow(ImageOps.posterize, bits) if bits else np.zeros_like(PHOTO)
    np.testing.assert_array_equal(in_graph(ops.posterize, float(bits)), theirs)


@pytest.mark.parametrize("threshold", [0, 25, 128, 255, 256, 384])
def test_solarize_is_pillows(threshold):
    ours = in_graph(ops.solarize, float(threshold))
    np.testing.assert_array_equal(ours, pillow(ImageOps.solarize, threshold))


def test_solarize_add_changes_the_darker_half():
    expected = np.where(PHOTO < 128, np.minimum(PHOTO.astype(int) + 165, 255), PHOTO)
    assert_close(in_graph(ops.solarize_add, 165.0), expected, 0)


@pytest.mark.parametrize("factor", [0.1, 0.55, 1.81, 2.8])
@pytest.mark.parametrize("name", ["color", "contrast", "brightness", "sharpness"])
def test_enhancements_are_pillows(name, factor):
    """Within two levels: Pillow rounds the gray or smooth image before it blends."""
    ours = in_graph(getattr(ops, name), tf.constant(factor))
    assert_close(ours, enhanced(name.capitalize(), factor), 2)


def test_rotate_is_pillows():
    ours = in_graph(ops.rotate, tf.constant(27.0))
    settings = dict(resample=Image.Resampling.BILINEAR, fillcolor=(128, 128, 128))
    theirs = np.array(Image.fromarray(PHOTO).rotate(27, **settings))
    assert_inside_is_close(ours, theirs)


def test_shears_are_pillows():
    ours = in_graph(ops.shear_x, tf.constant(0.27))
    assert_inside_is_close(ours, affine(1, 0.27, 0, 0, 1, 0))
    ours = in_graph(ops.shear_y, tf.constant(-0.27))
    assert_inside_is_close(ours, affine(1, 0, 0, -0.27, 1, 0))


def assert_inside_is_close(ours, theirs):
    """Except for the rim of the image, which TensorFlow blends with the gray around it."""
    rim = (theirs == 128).all(axis=-1)
    near = np.zeros_like(rim)
    for rows in (-1, 0, 1):
        for columns in (-1, 0, 1):
            near |= np.roll(rim, (rows, columns), axis=(0, 1))
    np.testing.assert_array_equal(ours[rim & (ours == 128).all(axis=-1)], 128)
    assert ((ours == 128).all(axis=-1) == rim).mean() > 0.95
    inner = ~near
    inner[[0, -1]] = inner[:, [0, -1]] = False
    assert inner.mean() > 0.5
    assert_close(np.where(inner[..., None], ours, theirs), theirs, 2)


@pytest.mark.parametrize("share", [0.3, -0.3, 0.0, 1.5])
def test_translations_move_by_a_share_of_the_side(share):
    height, width, _ = PHOTO.shape
    share = tf.constant(share)
    columns, rows = round(float(share) * width), round(float(share) * height)
    np.testing.assert_array_equal(in_graph(ops.translate_x, share), moved(0, columns))
    np.testing.assert_array_equal(in_graph(ops.translate_y, share), moved(rows, 0))


def test_cutout_is_a_gray_square_that_may_stand_out():
    expected = PHOTO.copy()
    expected[25 - 10 : 25 + 10, 7 - 7 : 7 + 14] = 128
    np.testing.assert_array_equal(in_graph(ops.cutout, 0.2, (0.5, 0.1)), expected)


def drawn(recipe, level, sign):
    table = ra.INCREASING_OPERATIONS if recipe["increasing"] else ra.OPERATIONS
    draw = ra.Draw(tf.constant(level), tf.constant(sign), (0.5, 0.5))
    return {name: np.array(change(PHOTO, draw)) for name, change in table.items()}


def test_the_table_of_mixers_recipe_by_hand():
    """Magnitude 15 on the scale of 10, where a level is 1.5."""
    changed = drawn(ra.MIXER_RECIPE, 1.5, -1.0)
    assert len(changed) == 16
    np.testing.assert_array_equal(changed["posterize"], PHOTO & 0b11111100)
    np.testing.assert_array_equal(changed["solarize"], PHOTO)
    assert_close(changed["brightness"], enhanced("Brightness", 2.8), 1)
    assert_close(changed["sharpness"], enhanced("Sharpness", 2.8), 2)
    columns = round(70 * 1.5 * 100 / 224)
    np.testing.assert_array_equal(changed["translate_x"], moved(0, -columns))
    half = int(50 * 60 / 224), int(70 * 60 / 224)
    gray = (changed["cutout"] == 128).all(axis=-1).sum()
    assert 0 <= gray - 4 * half[0] * half[1] < 10
    assert_close(changed["rotate"], np.array(ops.rotate(PHOTO, tf.constant(-45.0))), 1)
    assert_close(changed["shear_x"], np.array(ops.shear_x(PHOTO, tf.constant(-0.45))), 1)
    np.testing.assert_array_equal(changed["solarize_add"], ops.solarize_add(PHOTO, 165.0))


def test_the_table_of_deits_recipe_by_hand():
    """Magnitude 9: a level of 0.9."""
    changed = drawn(ra.DEIT_RECIPE, 0.9, -1.0)
    assert len(changed) == 15
    assert "cutout" not in changed
    np.testing.assert_array_equal(changed["posterize"], PHOTO & 0b10000000)
    np.testing.assert_array_equal(changed["solarize"], pillow(ImageOps.solarize, 26))
    assert_close(changed["color"], enhanced("Color", 0.19), 2)
    assert_close(drawn(ra.DEIT_RECIPE, 0.9, 1.0)["color"], enhanced("Color", 1.81), 2)
    np.testing.assert_array_equal(changed["translate_y"], moved(-round(50 * 0.405), 0))
    assert_close(changed["rotate"], np.array(ops.rotate(PHOTO, tf.constant(-27.0))), 1)


def test_increasing_operations_change_more_and_more():
    little, much = (drawn(ra.DEIT_RECIPE, level, 1.0) for level in (0.3, 0.9))
    for name in little.keys() - {"auto_contrast", "equalize", "invert"}:
        changes = [np.abs(changed[name].astype(int) - PHOTO).mean() for changed in (little, much)]
        assert changes[0] < changes[1], name


@pytest.mark.parametrize("name", RECIPES)
def test_same_seed_same_image_in_graphs_threads_and_eagerly(name):
    recipe = RECIPES[name]

    def change(number):
        return ra.rand_augment(PHOTO, tf.stack([7, number]), **recipe)

    numbers = tf.data.Dataset.range(40, output_type=tf.int32)
    one = list(numbers.map(change, num_parallel_calls=1).as_numpy_iterator())
    four = list(numbers.map(change, num_parallel_calls=4).as_numpy_iterator())
    np.testing.assert_array_equal(one, four)
    np.testing.assert_array_equal(one, [change(number) for number in range(40)])
    # Among 40 images, some are not changed at all, or the same in both.
    assert len(np.unique(one, axis=0)) > (25 if name == "mixer" else 15)


def name_the_operations(monkeypatch):
    """Makes each operation add 16 times its number, plus 1, to an image."""

    def adding(number):
        return lambda image, draw: image + tf.cast(16 * number + 1, tf.uint8)

    for table in ("OPERATIONS", "INCREASING_OPERATIONS"):
        names = getattr(ra, table)
        monkeypatch.setattr(ra, table, {name: adding(i) for i, name in enumerate(names)})


@pytest.mark.parametrize(("increasing", "operations"), [(False, 16), (True, 15)])
def test_all_operations_are_drawn_equally_often_each_with_the_probability(
    monkeypatch, increasing, operations
):
    name_the_operations(monkeypatch)
    black = tf.zeros((1, 1, 3), tf.uint8)

    def numbers(layers, probability):
        data = tf.data.Dataset.range(2000).map(
            lambda i: ra.rand_augment(
                black, tf.stack([i, 3]), layers, 9, 0.5, probability, increasing
            )[0, 0, 0],
            num_parallel_calls=2,
        )
        return next(data.batch(2000).as_numpy_iterator())

    drawn = numbers(1, 0.5)
    assert abs((drawn > 0).mean() - 0.5) < 0.05
    counts = np.bincount(drawn[drawn > 0] // 16, minlength=operations)
    assert len(counts) == operations
    assert np.abs(counts - 1000 / operations).max() < 5 * (1000 / operations) ** 0.5
    # The last four bits of the sum count the layers that were carried out.
    carried_out = np.bincount(numbers(2, 0.5) % 16, minlength=3) / 2000
    np.testing.assert_allclose(carried_out, [0.25, 0.5, 0.25], atol=0.05)
    np.testing.assert_array_equal(numbers(2, 1.0) % 16, 2)


def test_strength_is_normal_cut_off_and_the_sign_is_random(monkeypatch):
    def telling(image, draw):
        told = tf.stack([100 * draw.level, 100 + 50 * draw.sign, 200 * draw.place[0]])
        return tf.cast(tf.round(told), tf.uint8)[None, None]

    for table in ("OPERATIONS", "INCREASING_OPERATIONS"):
        monkeypatch.setattr(ra, table, {"telling": telling})
    black = tf.zeros((1, 1, 3), tf.uint8)

    def told(**settings):
        data = tf.data.Dataset.range(2000).map(
            lambda i: ra.rand_augment(black, tf.stack([3, i]), layers=1, **settings)
        )
        return next(data.batch(2000).as_numpy_iterator()).astype("float32")[:, 0, 0].T

    level, sign, place = told(magnitude=5, magnitude_std=0.5, increasing=True)
    assert abs(level.mean() - 50) < 0.6
    assert abs(level.std() - 5) < 0.4
    assert set(sign) == {50, 150}
    assert abs(sign.mean() - 100) < 5
    assert abs(place.mean() - 100) < 6
    assert abs(np.corrcoef(level, sign)[0, 1]) < 0.1
    level, *_ = told(magnitude=9.5, magnitude_std=1, increasing=True)
    assert level.max() == 100
    assert (level < 90).any()
    level, *_ = told(magnitude=15, increasing=False)
    np.testing.assert_array_equal(level, 150)


def test_no_global_random_state_is_touched():
    random.seed(1)
    np.random.seed(1)
    tf.random.set_seed(1)
    expected = random.random(), np.random.rand(), float(tf.random.uniform(()))
    ra._function.cache_clear()
    random.seed(1)
    np.random.seed(1)
    tf.random.set_seed(1)
    for number in range(20):
        ra.rand_augment(PHOTO, (number, 0), **ra.MIXER_RECIPE)
    assert (random.random(), np.random.rand(), float(tf.random.uniform(()))) == expected


def sums():
    """Of 60 images changed at random."""

    def total(i):
        image = ra.rand_augment(PHOTO, tf.stack([i, 0]), **ra.MIXER_RECIPE)
        image = augmentation.color_jitter(image, tf.stack([i, 1]), 0.4)
        return tf.reduce_sum(tf.cast(image, tf.int32))

    return [int(each) for each in tf.data.Dataset.range(60).map(total).as_numpy_iterator()]


PROGRAM = """
import keras
from tests.data.test_rand_augment import sums
print(keras.backend.backend(), sums())
"""


@pytest.mark.extended
def test_the_same_when_keras_runs_on_jax():
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    assert run.stdout == f"jax {sums()}\n"
    assert len(set(sums())) > 50
