import dataclasses

import keras
import numpy as np
import pytest

from keras_mixers.training import losses, optimizers, scores
from keras_mixers.training.config import TrainingConfig
from tests.models.small import build

pytestmark = pytest.mark.tensorflow

CONFIG = TrainingConfig(
    epochs=10, learning_rate=0.5, final_learning_rate=0.1, warmup_epochs=2, weight_decay=0.1
)


@pytest.mark.parametrize(
    ("shape", "middle", "late"), [("linear", 0.3, 0.2), ("cosine", 0.3, 0.1 + 0.4 * 0.146447)]
)
def test_schedule_by_hand(shape, middle, late):
    """10 epochs of 6.1 steps, warm-up of 2: 12 steps up, then 49 down; step 36 is half way."""
    config = dataclasses.replace(CONFIG, schedule=shape, epochs=61, warmup_epochs=12)
    rate = optimizers.schedule(config, 1)
    expected = {0: 0, 6: 0.25, 12: 0.5, 36: middle, 48: late, 60: 0.1, 99: 0.1}
    for step, value in expected.items():
        assert float(rate(step)) == pytest.approx(value, abs=1e-6), step


def test_schedule_without_warmup_and_with_another_start():
    without = dataclasses.replace(CONFIG, warmup_epochs=0)
    assert float(optimizers.schedule(without, 5)(0)) == pytest.approx(0.5)
    start = dataclasses.replace(CONFIG, warmup_learning_rate=0.2)
    assert float(optimizers.schedule(start, 5)(0)) == pytest.approx(0.2)
    assert float(optimizers.schedule(start, 5)(5)) == pytest.approx(0.35)


def test_warmup_may_end_within_an_epoch():
    half = dataclasses.replace(CONFIG, warmup_epochs=1.5)
    rate = optimizers.schedule(half, 10)
    assert float(rate(12)) == pytest.approx(0.4)
    assert float(rate(15)) == pytest.approx(0.5)


def test_schedule_is_saved_with_a_model():
    rate = optimizers.schedule(CONFIG, 5)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(rate))
    assert [float(again(step)) for step in range(50)] == [float(rate(step)) for step in range(50)]


@pytest.mark.parametrize("family", ["mlp_mixer", "s2_mlp", "smlpnet"])
def test_weight_decay_shrinks_kernels_and_nothing_else(family):
    """With a gradient of zero, AdamW's step is the decay alone: times 1 - 0.5 * 0.1."""
    model = build(family)
    config = dataclasses.replace(CONFIG, warmup_epochs=0)
    optimizer = optimizers.optimizer(model, config, 1_000_000)
    for weight in model.trainable_weights:
        weight.assign(np.ones(weight.shape))
    zeros = [np.zeros(weight.shape, "float32") for weight in model.trainable_weights]
    optimizer.apply(zeros, model.trainable_weights)
    for weight in model.trainable_weights:
        expected = 0.95 if weight.path.endswith("kernel") else 1.0
        np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-6, err_msg=weight.path)


def test_fused_adamw_is_keras_adamw(rng):
    from keras_mixers.training.tensorflow_backend import FusedAdamW

    config = dataclasses.replace(CONFIG, warmup_epochs=0, beta_1=0.8, beta_2=0.9, epsilon=1e-3)
    models = [build("mlp_mixer") for _ in range(2)]
    models[1].set_weights(models[0].get_weights())
    kinds = (keras.optimizers.AdamW, FusedAdamW)
    pair = [
        optimizers.optimizer(model, config, 10, kind)
        for model, kind in zip(models, kinds, strict=True)
    ]
    for _ in range(3):
        gradients = [
            rng.normal(size=v.shape).astype("float32") for v in models[0].trainable_weights
        ]
        for model, optimizer in zip(models, pair, strict=True):
            optimizer.apply(gradients, model.trainable_weights)
    for one, other in zip(*[optimizer.variables for optimizer in pair], strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-4, atol=1e-6)
    for one, other in zip(*[model.weights for model in models], strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-4, atol=1e-5)


def test_lamb_against_numpy(rng):
    """Algorithm 2 of https://arxiv.org/abs/1904.00962, three steps, decay on the kernel only."""
    variables = [
        keras.Variable(rng.normal(size=shape).astype("float32"), name=name)
        for shape, name in (((3, 4), "kernel"), ((4,), "bias"))
    ]
    expected = [variable.numpy().astype("float64") for variable in variables]
    optimizer = optimizers.LAMB(0.1, weight_decay=0.3)
    optimizer.exclude_from_weight_decay(var_list=[variables[1]])
    optimizer.build(variables)
    moments = [[np.zeros(w.shape), np.zeros(w.shape)] for w in expected]
    for step in range(1, 4):
        gradients = [rng.normal(size=w.shape).astype("float32") for w in expected]
        optimizer.apply(gradients, variables)
        for i, (g, decay) in enumerate(zip(gradients, (0.3, 0.0), strict=True)):
            first, second = moments[i]
            first[:] = 0.9 * first + 0.1 * g
            second[:] = 0.999 * second + 0.001 * g**2
            update = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-7)
            update += decay * expected[i]
            trust = np.linalg.norm(expected[i]) / np.linalg.norm(update)
            expected[i] = expected[i] - 0.1 * trust * update
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=2e-4, atol=1e-6)


def test_lamb_leaves_a_zero_weight_without_trust_ratio(rng):
    variable = keras.Variable(np.zeros((3,), "float32"), name="bias")
    optimizer = optimizers.LAMB(0.1)
    optimizer.apply([np.ones((3,), "float32")], [variable])
    np.testing.assert_allclose(variable.numpy(), -0.1, rtol=1e-4)


def test_losses_by_hand(rng):
    logits = rng.normal(size=(5, 4)).astype("float32") * 3
    labels = rng.dirichlet(np.ones(4), size=5).astype("float32")
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    np.testing.assert_allclose(
        losses.losses(labels, logits, "softmax"), -(labels * log_p).sum(-1), rtol=1e-5
    )
    p = 1 / (1 + np.exp(-logits))
    by_class = -labels * np.log(p) - (1 - labels) * np.log(1 - p)
    np.testing.assert_allclose(
        losses.losses(labels, logits, "sigmoid"), by_class.sum(-1), rtol=1e-4
    )


def test_losses_are_finite_far_out():
    logits = np.array([[1e4, -1e4], [-1e4, 1e4]], "float32")
    labels = np.array([[0.0, 1.0], [0.0, 1.0]], "float32")
    for kind in ("softmax", "sigmoid"):
        assert np.isfinite(np.array(losses.losses(labels, logits, kind))).all()


def test_correct_counts_the_largest_and_no_ties():
    labels = np.eye(6, dtype="float32")[[0, 1, 2, 3, 4]]
    logits = np.array(
        [[5, 4, 3, 2, 1, 0], [5, 4, 3, 2, 1, 0], [0, 1, -1, 3, 4, 5], [1] * 6, [np.nan] * 6],
        "float32",
    )
    np.testing.assert_array_equal(losses.correct(labels, logits), [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(losses.correct(labels, logits, 2), [1, 1, 0, 0, 0])
    np.testing.assert_array_equal(losses.correct(labels, logits, 5), [1, 1, 0, 0, 0])


def test_sums_of_an_evaluation():
    """The right class comes first, third and last; the third image fills up the batch."""
    labels = np.eye(6, dtype="float32")[[0, 2, 5, 5]]
    logits = np.array([[5, 4, 3, 2, 1, 0]] * 4, "float32")
    weights = np.array([1, 1, 0, 1], "float32")
    sums = scores.OneLabel("softmax").evaluation_sums(labels, logits, weights)
    assert {name: float(sums[name]) for name in ("correct", "correct_5", "count")} == {
        "correct": 1,
        "correct_5": 2,
        "count": 3,
    }
    expected = np.log(np.exp(logits[0]).sum()) - logits[0, [0, 2, 5]]
    assert float(sums["loss"]) == pytest.approx(expected.sum(), rel=1e-5)


def test_gradients_are_clipped_by_their_global_norm():
    gradients = [np.array([3.0], "float32"), np.array([[0.0, 4.0]], "float32")]
    same, norm = optimizers.clipped(gradients, 6)
    assert float(norm) == pytest.approx(5)
    np.testing.assert_allclose(same[1], gradients[1])
    scaled, _ = optimizers.clipped(gradients, 1)
    np.testing.assert_allclose(scaled[0], [0.6], rtol=1e-6)
    np.testing.assert_allclose(scaled[1], [[0, 0.8]], rtol=1e-6)
    assert optimizers.clipped(gradients, None)[0] is gradients
