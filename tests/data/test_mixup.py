import numpy as np
import pytest
import tensorflow as tf

from keras_mixers.data import mixup

SIZE = (24, 32)


def draws(number=2000, **settings):
    """Weights and boxes of that many pairs."""
    data = tf.data.Dataset.range(number).map(
        lambda i: mixup.draw_mixing(tf.stack([5, i]), SIZE, **settings), num_parallel_calls=2
    )
    assert data.element_spec == (
        tf.TensorSpec((), tf.float32),
        tf.TensorSpec((4,), tf.int32),
    )
    return next(data.batch(number).as_numpy_iterator())


def areas(boxes):
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0])
def test_mixup_weights_are_of_the_beta_distribution(alpha):
    weights, boxes = draws(mixup_alpha=alpha, cutmix_alpha=0.0)
    assert not boxes.any()
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(weights.mean() - 0.5) < 4 * (variance / 2000) ** 0.5
    assert abs(weights.var() - variance) < 0.09 * variance
    at_least_half, _ = draws(mixup_alpha=alpha, cutmix_alpha=0.0, own_share_at_least_half=True)
    np.testing.assert_array_equal(at_least_half, np.maximum(weights, 1 - weights))


def test_cutmix_weight_is_the_share_that_is_left_of_the_box_inside():
    weights, boxes = draws(mixup_alpha=0.0, cutmix_alpha=1.0)
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= 24).all()
    assert (boxes[:, 3] <= 32).all()
    np.testing.assert_allclose(weights, 1 - areas(boxes) / (24 * 32), rtol=1e-6)
    # Boxes reach every edge, and their middles are anywhere.
    assert [(boxes[:, i] == edge).any() for i, edge in enumerate((0, 0, 24, 32))] == [True] * 4
    # Of Beta(1, 1), the box has half of the area on average, of which a quarter and a bit is cut.
    assert 0.25 < 1 - weights.mean() < 0.45
    uncut = (boxes[:, :2] > 0).all(axis=1) & (boxes[:, 2:] < SIZE).all(axis=1)
    tall, wide = (boxes[uncut, 2:] - boxes[uncut, :2]).T
    np.testing.assert_allclose(wide, tall * 32 / 24, atol=3)


def test_switch():
    settings = dict(mixup_alpha=0.8, cutmix_alpha=1.0)
    weights, boxes = draws(**settings, switch=0.25)
    assert abs((areas(boxes) > 0).mean() - 0.25) < 0.04
    cut = areas(boxes) > 0
    np.testing.assert_allclose(weights[cut], 1 - areas(boxes)[cut] / (24 * 32), rtol=1e-6)
    assert not boxes[~cut].any() or (areas(boxes)[~cut] == 0).all()
    weights, boxes = draws(100, **settings, switch=0.0)
    assert (weights < 1).all()
    np.testing.assert_array_equal(boxes, 0)


def test_draws_are_a_function_of_the_seed():
    one = [mixup.draw_mixing((1, i), SIZE, 0.8, 1.0) for i in range(30)]
    tf.random.set_seed(3)
    again = [mixup.draw_mixing((1, i), SIZE, 0.8, 1.0) for i in range(30)]
    for (weight, box), (same_weight, same_box) in zip(one, again, strict=True):
        np.testing.assert_array_equal(weight, same_weight)
        np.testing.assert_array_equal(box, same_box)
    assert len({float(weight) for weight, _ in one}) > 25


def test_mix_against_numpy(rng):
    images = rng.normal(size=(6, *SIZE, 3)).astype("float32")
    labels = np.eye(6, dtype="float32")
    boxes = np.array([[0] * 4] * 2 + [[3, 5, 20, 30]] * 2 + [[4, 6, 4, 9]] * 2)
    cut = 1 - 17 * 25 / (24 * 32)
    weights = np.array([0.3, 0.3, cut, cut, 1, 1], "float32")
    expected, expected_labels = images.copy(), labels.copy()
    for i, (top, left, bottom, right) in enumerate(boxes):
        if (bottom - top) * (right - left):
            expected[i, top:bottom, left:right] = images[i ^ 1, top:bottom, left:right]
        else:
            expected[i] = weights[i] * images[i] + (1 - weights[i]) * images[i ^ 1]
        expected_labels[i] = weights[i] * labels[i] + (1 - weights[i]) * labels[i ^ 1]

    data = tf.data.Dataset.from_tensors((images, labels, weights, boxes.astype("int32")))
    data = data.map(mixup.mix)
    assert data.element_spec[0] == tf.TensorSpec(images.shape, tf.float32)
    assert data.element_spec[1] == tf.TensorSpec(labels.shape, tf.float32)
    ((mixed, mixed_labels),) = data.as_numpy_iterator()
    np.testing.assert_allclose(mixed, expected, atol=1e-6)
    np.testing.assert_array_equal(mixed[2:], expected[2:])
    np.testing.assert_allclose(mixed_labels, expected_labels, atol=1e-6)


def test_pairs_need_an_even_batch():
    images = tf.zeros((3, 4, 4, 3))
    with pytest.raises(ValueError, match=r"even and static. Received: images.shape=\(3, 4, 4, 3\)"):
        mixup.mix(images, tf.zeros((3, 2)), tf.ones((3,)), tf.zeros((3, 4), tf.int32))
