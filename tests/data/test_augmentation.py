import numpy as np
import pytest
import sklearn.datasets
import tensorflow as tf
from PIL import Image, ImageEnhance

from keras_mixers.data import augmentation

PHOTO = np.ascontiguousarray(sklearn.datasets.load_sample_images().images[0][60:160:2, 200:340:2])


def changed(change, number, **settings):
    """The photograph, changed with that many seeds in tf.data."""
    data = tf.data.Dataset.range(number).map(
        lambda i: change(PHOTO, tf.stack([9, i]), **settings), num_parallel_calls=2
    )
    assert data.element_spec == tf.TensorSpec(PHOTO.shape, tf.uint8)
    return next(data.batch(number).as_numpy_iterator())


def test_flip_mirrors_half_of_the_images():
    flipped = changed(augmentation.flip, 400)
    as_it_was = (flipped == PHOTO).all(axis=(1, 2, 3))
    mirrored = (flipped == PHOTO[:, ::-1]).all(axis=(1, 2, 3))
    assert (as_it_was ^ mirrored).all()
    assert abs(mirrored.mean() - 0.5) < 0.1


@pytest.mark.parametrize(
    ("change", "settings"),
    [
        (augmentation.flip, {}),
        (augmentation.color_jitter, dict(strength=0.4)),
        (augmentation.random_erasing, dict(probability=0.5)),
    ],
)
def test_the_seed_alone_decides(change, settings):
    images = changed(change, 20, **settings)
    tf.random.set_seed(3)
    again = [change(PHOTO, (9, i), **settings) for i in range(20)]
    np.testing.assert_array_equal(images, again)
    assert len(np.unique(images, axis=0)) > 1


def test_color_jitter_is_one_of_pillows_six_orders():
    """Found again by trying: order and factors of three images, within a few levels."""
    factors = np.array(
        [
            tf.random.stateless_uniform(
                (3,), tf.random.split(tf.constant((4, i), tf.int64), 2)[0], 0.6, 1.4
            )
            for i in range(24)
        ]
    )
    used = set()
    kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for i in range(24):
        ours = np.array(augmentation.color_jitter(PHOTO, (4, i), 0.4), int)
        errors = {}
        for order in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]:
            image = Image.fromarray(PHOTO)
            for position in order:
                image = kinds[position](image).enhance(factors[i][position])
            errors[order] = np.abs(ours - np.array(image, int)).max()
        order = min(errors, key=errors.get)
        assert errors[order] <= 3
        used.add(order)
    assert len(used) > 3


def test_color_jitter_of_no_strength_changes_nothing_that_is_seen():
    difference = changed(augmentation.color_jitter, 10, strength=0.0).astype(int) - PHOTO
    assert np.abs(difference).max() <= 1
    assert augmentation.color_jitter(PHOTO, (0, 0), 2.0).shape == PHOTO.shape


def erased_boxes(images):
    """Which of the images have noise, and where: `(top, left, bottom, right)`."""
    boxes = []
    for image in images:
        different = (image != PHOTO).any(axis=-1)
        if different.any():
            rows, columns = np.flatnonzero(different.any(1)), np.flatnonzero(different.any(0))
            boxes.append((rows[0], columns[0], rows[-1] + 1, columns[-1] + 1))
    return np.array(boxes)


def test_erasing_takes_the_share_of_the_area_with_the_probability():
    images = changed(augmentation.random_erasing, 1500, probability=0.25)
    boxes = erased_boxes(images)
    assert abs(len(boxes) / 1500 - 0.25) < 0.04
    boxes = erased_boxes(changed(augmentation.random_erasing, 800, probability=1.0))
    assert len(boxes) == 800
    tall, wide = (boxes[:, 2:] - boxes[:, :2]).T
    shares = tall * wide / (50 * 70)
    assert shares.min() > 0.01
    assert shares.max() < 0.36
    # Uniform from 2 % to 1/3; the largest fit a bit less often.
    np.testing.assert_allclose(
        np.quantile(shares, [0.25, 0.5, 0.75]), [0.1, 0.175, 0.25], atol=0.03
    )
    aspects = np.log(tall / wide) / np.log(1 / 0.3)
    assert np.abs(aspects).max() < 1.15
    assert abs(aspects.mean()) < 0.06
    assert abs(aspects.std() - 3**-0.5) < 0.06
    assert [(boxes[:, i] == edge).any() for i, edge in enumerate((0, 0, 50, 70))] == [True] * 4


def test_erasing_writes_normal_noise_and_nothing_outside():
    for image in changed(augmentation.random_erasing, 20, probability=1.0):
        ((top, left, bottom, right),) = erased_boxes([image])
        inside = np.zeros(PHOTO.shape[:2], bool)
        inside[top:bottom, left:right] = True
        np.testing.assert_array_equal(image[~inside], PHOTO[~inside])
        noise = image[inside].astype("float32")
        error = 58 / len(noise) ** 0.5
        # Cut to 0 to 255, the deviation of 58 becomes 55, and the mean moves by less than 1.
        np.testing.assert_allclose(
            noise.mean(axis=0), augmentation.IMAGENET_MEAN, atol=4 * error + 1
        )
        np.testing.assert_allclose(noise.std(axis=0), 55.5, atol=4 * error)
        correlations = np.corrcoef(noise, rowvar=False)[np.triu_indices(3, 1)]
        assert np.abs(correlations).max() < 4 / len(noise) ** 0.5
