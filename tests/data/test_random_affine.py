import numpy as np
import pytest

from keras_mixers.data import augmentation

pytestmark = pytest.mark.tensorflow


def image_with_a_dot(batch=64, side=9):
    images = np.zeros((batch, side, side, 1), "float32")
    images[:, 2, 4] = 1
    return images


def centers(images):
    """Center of mass of each image: (row, column)."""
    images = np.array(images)[..., 0]
    rows, columns = np.mgrid[: images.shape[1], : images.shape[2]]
    mass = images.sum(axis=(1, 2))
    return (
        np.stack([(images * rows).sum((1, 2)), (images * columns).sum((1, 2))], 1) / mass[:, None]
    )


def test_no_change_is_the_identity():
    images = image_with_a_dot()
    same = augmentation.random_affine(images, (0, 0), rotation=0, zoom=0, shift=0)
    np.testing.assert_allclose(same, images, atol=1e-6)


def test_augmentation_is_a_function_of_its_seed_and_differs_between_images():
    images = image_with_a_dot()
    settings = dict(rotation=20, zoom=0.1, shift=0.1)
    once = augmentation.random_affine(images, (1, 2), **settings).numpy()
    np.testing.assert_array_equal(augmentation.random_affine(images, (1, 2), **settings), once)
    assert not np.array_equal(augmentation.random_affine(images, (1, 3), **settings), once)
    assert len(np.unique(centers(once).round(4), axis=0)) == len(images)


def test_shift_is_bounded_and_fills_with_zeros():
    moved = augmentation.random_affine(image_with_a_dot(), (1, 2), rotation=0, zoom=0, shift=2 / 9)
    offsets = centers(moved) - [2, 4]
    assert 1.5 < np.abs(offsets).max() <= 2.001
    assert np.array(moved)[:, -1].max() == 0


def test_rows_and_columns_are_shifted_independently():
    moved = augmentation.random_affine(image_with_a_dot(), (1, 2), rotation=0, zoom=0, shift=2 / 9)
    offsets = centers(moved) - [2, 4]
    assert abs(np.corrcoef(offsets, rowvar=False)[0, 1]) < 0.4


def test_rotation_keeps_the_center_and_the_distance_from_it():
    images = image_with_a_dot()
    images[:, 2, 4], images[:, 1:4, 3:6] = 0, 1  # A blob, which interpolation keeps.
    turned = augmentation.random_affine(images, (1, 2), rotation=30, zoom=0, shift=0)
    offsets = centers(turned) - [4, 4]
    np.testing.assert_allclose(np.hypot(*offsets.T), 2, atol=0.1)
    angles = np.degrees(np.arctan2(offsets[:, 1], -offsets[:, 0]))
    assert 25 < np.abs(angles).max() <= 31
    assert angles.min() < -20
    assert angles.max() > 20


def test_zoom_changes_the_distance_from_the_center():
    images = image_with_a_dot()
    zoomed = augmentation.random_affine(images, (1, 2), rotation=0, zoom=0.5, shift=0)
    distance = 4 - centers(zoomed)[:, 0]
    assert 0.95 < distance.min() < 1.3
    assert 2.7 < distance.max() < 3.05
