"""Every inner result of each family against the papers' formulas in NumPy."""

import keras
import numpy as np
import pytest

from tests import reference
from tests.models.small import build, outputs


def compare(model, x, expected):
    """Compares every layer named in `expected`, and fails on too small a spread to tell."""
    tapped = keras.Model(model.input, {name: model.get_layer(name).output for name in expected})
    got = outputs(tapped, x.astype("float32"))
    for name, value in expected.items():
        assert np.std(value) > 1e-3, name
        np.testing.assert_allclose(got[name], value, atol=3e-6 * np.abs(value).max(), err_msg=name)


@pytest.mark.parametrize(
    ("activation", "formula"), [("gelu_tanh", reference.gelu_tanh), ("gelu", reference.gelu)]
)
def test_mlp_mixer(activation, formula, rng):
    # gelu_tanh is the default, as in the official code.
    model = build("mlp_mixer", **({} if activation == "gelu_tanh" else {"activation": activation}))
    weights = reference.randomize(model, rng)
    x = rng.normal(size=(2, 8, 12, 3))
    compare(model, x, reference.mlp_mixer(x, weights, 4, 3, formula))


def test_mlp_mixers_second_token_bias_is_invisible_in_the_logits(rng):
    """It adds one number to all channels of a position, which the next norms take away.

    So only the comparison of inner results above can see that bias missing.
    """
    model = build("mlp_mixer", classifier_activation=None)
    reference.randomize(model, rng)
    x = rng.normal(size=(2, 8, 12, 3)).astype("float32")
    before = outputs(model, x)
    for block in range(3):
        bias = model.get_layer(f"block_{block}_token_mixing").fc2.bias
        bias.assign(np.zeros(bias.shape))
    np.testing.assert_allclose(outputs(model, x), before, atol=2e-5)


@pytest.mark.parametrize(
    ("directions", "steps"),
    [("four", reference.FOUR), ("vertical", ((1, 0), (-1, 0)))],
)
def test_s2_mlp(directions, steps, rng):
    model = build("s2_mlp", directions=directions)
    weights = reference.randomize(model, rng)
    x = rng.normal(size=(2, 12, 16, 3))
    compare(model, x, reference.s2_mlp(x, weights, 4, 3, steps))


def test_smlpnet(rng):
    model = build("smlpnet")
    weights = reference.randomize(model, rng)
    x = rng.normal(size=(2, 16, 24, 3))
    compare(model, x, reference.smlpnet(x, weights, 2, (1, 2, 1)))


def test_smlpnet_in_training_uses_the_batch_and_moves_the_statistics(rng):
    model = build("smlpnet")
    weights = reference.randomize(model, rng)
    x = rng.normal(2, 3, size=(4, 16, 24, 3))
    model(x.astype("float32"), training=True)
    stem = reference.patches(x, weights, "stem", 2)
    norm = model.get_layer("block_0_depthwise_norm")
    for moving, name, of_batch in (
        (norm.moving_mean, "moving_mean", stem.mean(axis=(0, 1, 2))),
        (norm.moving_variance, "moving_variance", stem.var(axis=(0, 1, 2))),
    ):
        expected = 0.9 * weights[f"block_0_depthwise_norm/{name}"] + 0.1 * of_batch
        got = keras.ops.convert_to_numpy(moving)
        np.testing.assert_allclose(got, expected, rtol=1e-4)
