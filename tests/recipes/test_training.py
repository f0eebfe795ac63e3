import dataclasses
import math

import keras
import numpy as np
import pytest

from recipes.training import augmentation, data, optimisation, trainer
from recipes.training.config import TrainingConfig
from tests.models.small import build

pytestmark = pytest.mark.tensorflow

CONFIG = TrainingConfig(
    epochs=10, batch_size=4, learning_rate=0.5, warmup_epochs=2, weight_decay=0.1
)


def numbered(count):
    images = np.arange(count, dtype="float32").reshape(count, 1, 1, 1)
    return images, np.arange(count)


def first_batches(steps, seed, augment=None):
    batches = data.training_batches(*numbered(10), 4, seed, augment).take(steps)
    return [(images.numpy().ravel(), labels.numpy()) for images, labels in batches]


def test_order_is_a_function_of_seed_and_step():
    once, again, other = first_batches(6, 3), first_batches(6, 3), first_batches(6, 4)
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, other)


def test_an_epoch_repeats_no_picture_and_the_next_has_another_order():
    labels = [labels for _, labels in first_batches(4, 0)]
    for epoch in (labels[:2], labels[2:]):
        assert len(set(np.concatenate(epoch))) == 8
    assert not np.array_equal(labels[:2], labels[2:])


def test_pictures_and_labels_stay_together_and_shapes_are_static():
    batches = data.training_batches(*numbered(10), 4, 0)
    assert [tuple(spec.shape) for spec in batches.element_spec] == [(4, 1, 1, 1), (4,)]
    for images, labels in first_batches(5, 1):
        np.testing.assert_array_equal(images, labels)


def test_augmentation_gets_another_seed_each_step():
    seeds = []

    def augment(images, seed):
        return images * 0 + np.float32(seed[0]) * 100 + _as_float(seed[1])

    def _as_float(step):
        import tensorflow as tf

        return tf.cast(step, "float32")

    for images, _ in first_batches(3, 7, augment):
        seeds.append(images[0])
    assert seeds == [700, 701, 702]


def test_evaluation_keeps_order_and_every_picture():
    batches = list(data.evaluation_batches(*numbered(10), 4))
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), range(10))


@pytest.mark.parametrize("batch_size", [0, 11])
def test_batch_size_must_fit_the_data(batch_size):
    with pytest.raises(ValueError, match=f"`batch_size` must be from 1 to .* 10. .*={batch_size}"):
        data.training_batches(*numbered(10), batch_size, 0)
    config = dataclasses.replace(CONFIG, batch_size=batch_size)
    images = np.zeros((10, 8, 12, 3), "float32")
    with pytest.raises(ValueError, match="`batch_size` must be"):
        trainer.train(build("mlp_mixer"), config, (images, np.arange(10)), (images, np.arange(10)))


def picture_with_a_dot(batch=64, side=9):
    images = np.zeros((batch, side, side, 1), "float32")
    images[:, 2, 4] = 1
    return images


def centres(images):
    """Centre of mass of each picture: (row, column)."""
    images = np.array(images)[..., 0]
    rows, columns = np.mgrid[: images.shape[1], : images.shape[2]]
    mass = images.sum(axis=(1, 2))
    return (
        np.stack([(images * rows).sum((1, 2)), (images * columns).sum((1, 2))], 1) / mass[:, None]
    )


def test_no_change_is_the_identity():
    images = picture_with_a_dot()
    same = augmentation.random_affine(images, (0, 0), rotation=0, zoom=0, shift=0)
    np.testing.assert_allclose(same, images, atol=1e-6)


def test_augmentation_is_a_function_of_its_seed_and_differs_between_pictures():
    images = picture_with_a_dot()
    settings = dict(rotation=20, zoom=0.1, shift=0.1)
    once = augmentation.random_affine(images, (1, 2), **settings).numpy()
    np.testing.assert_array_equal(augmentation.random_affine(images, (1, 2), **settings), once)
    assert not np.array_equal(augmentation.random_affine(images, (1, 3), **settings), once)
    assert len(np.unique(centres(once).round(4), axis=0)) == len(images)


def test_shift_is_bounded_and_fills_with_zeros():
    moved = augmentation.random_affine(
        picture_with_a_dot(), (1, 2), rotation=0, zoom=0, shift=2 / 9
    )
    offsets = centres(moved) - [2, 4]
    assert 1.5 < np.abs(offsets).max() <= 2.001
    assert np.array(moved)[:, -1].max() == 0


def test_rotation_keeps_the_centre_and_the_distance_from_it():
    images = picture_with_a_dot()
    images[:, 2, 4], images[:, 1:4, 3:6] = 0, 1  # A blob, which interpolation keeps.
    turned = augmentation.random_affine(images, (1, 2), rotation=30, zoom=0, shift=0)
    offsets = centres(turned) - [4, 4]
    np.testing.assert_allclose(np.hypot(*offsets.T), 2, atol=0.1)
    angles = np.degrees(np.arctan2(offsets[:, 1], -offsets[:, 0]))
    assert 25 < np.abs(angles).max() <= 31
    assert angles.min() < -20
    assert angles.max() > 20


def test_zoom_changes_the_distance_from_the_centre():
    images = picture_with_a_dot()
    zoomed = augmentation.random_affine(images, (1, 2), rotation=0, zoom=0.5, shift=0)
    distance = 4 - centres(zoomed)[:, 0]
    assert 0.95 < distance.min() < 1.3
    assert 2.7 < distance.max() < 3.05


def test_schedule_by_hand():
    """10 epochs of 5 steps, warm-up of 2: 10 steps up, then a half cosine of 40 steps."""
    rate = optimisation.cosine_schedule(CONFIG, 5)
    for step, expected in ((0, 0), (5, 0.25), (10, 0.5), (30, 0.25), (50, 0)):
        assert float(rate(step)) == pytest.approx(expected, abs=1e-6)
    without = dataclasses.replace(CONFIG, warmup_epochs=0)
    assert float(optimisation.cosine_schedule(without, 5)(0)) == pytest.approx(0.5)


@pytest.mark.parametrize("family", ["mlp_mixer", "s2_mlp", "smlpnet"])
def test_weight_decay_shrinks_kernels_and_nothing_else(family):
    """With a gradient of zero, AdamW's step is the decay alone: times 1 - 0.5 * 0.1."""
    model = build(family)
    config = dataclasses.replace(CONFIG, warmup_epochs=0)
    optimizer = optimisation.adamw(model, config, 1_000_000)
    for weight in model.trainable_weights:
        weight.assign(np.ones(weight.shape))
    zeros = [np.zeros(weight.shape, "float32") for weight in model.trainable_weights]
    optimizer.apply(zeros, model.trainable_weights)
    for weight in model.trainable_weights:
        expected = 0.95 if weight.path.endswith("kernel") else 1.0
        np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-6, err_msg=weight.path)


def test_gradient_is_clipped_by_its_global_norm():
    model = build("mlp_mixer")
    assert optimisation.adamw(model, CONFIG, 5).global_clipnorm == 1.0


def test_label_smoothing_by_hand():
    config = dataclasses.replace(CONFIG, label_smoothing=0.2)
    loss = optimisation.cross_entropy(config)([[1.0, 0.0]], [[2.0, 0.0]])
    p = math.exp(2) / (math.exp(2) + 1)
    assert float(loss) == pytest.approx(-0.9 * math.log(p) - 0.1 * math.log(1 - p), rel=1e-5)


def test_train_learns_and_returns_curves(rng):
    """Two classes that differ in brightness."""
    labels = np.arange(64) % 2
    images = rng.normal(size=(64, 8, 12, 3)) + 2 * labels[:, None, None, None] - 1
    images = images.astype("float32")
    keras.utils.set_random_seed(0)
    model = build("mlp_mixer", classes=2, classifier_activation=None)
    config = TrainingConfig(epochs=6, batch_size=16, learning_rate=0.01, warmup_epochs=1)
    # Validation labels the other way round: a validation on anything else would show.
    curves = trainer.train(model, config, (images, labels), (images[:32], 1 - labels[:32]))
    assert set(curves) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert [len(curve) for curve in curves.values()] == [6] * 4
    assert curves["loss"][-1] < 0.5 * curves["loss"][0]
    assert curves["accuracy"][-1] > 0.9
    assert curves["val_accuracy"][-1] < 0.1
