"""Recomputed residuals: the same numbers from fewer stored ones."""

import numpy as np
import pytest
import tensorflow as tf

from keras_mixers.training import distribution
from keras_mixers.training import remat as remat_module
from keras_mixers.training.remat import Recomputed, _units
from tests.helpers import losses
from tests.training.test_backends import FAMILIES, SMLPNET_FIRST, engine, run_jax

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("family", SMLPNET_FIRST)
def test_changes_no_step(family):
    """Random drops, moving statistics and averages included."""
    strategy, results, states = tf.distribute.get_strategy(), [], []
    for remat in (False, True):
        taker, config = engine(strategy, family, remat=remat)
        results.append(losses.run(taker, config))
        states.append(taker.state()["non_trainable"])
    stored, recomputed = results
    for name in ("loss", "norm", "evaluation", "averaged"):
        np.testing.assert_allclose(recomputed[name], stored[name], rtol=1e-5, err_msg=name)
    # A seed that moves on twice a step, or statistics that move twice, would show here.
    assert states[0]
    for of_stored, of_recomputed in zip(*states, strict=True):
        np.testing.assert_allclose(of_recomputed, of_stored, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_changes_no_step_on_two_replicas_and_on_jax():
    strategy = distribution.mirrored(("CPU:0", "CPU:1"))
    stored, recomputed = (
        losses.run(*engine(strategy, "smlpnet", remat=remat)) for remat in (False, True)
    )
    np.testing.assert_allclose(recomputed["loss"], stored["loss"], rtol=1e-5)
    of_jax = run_jax((("smlpnet", "1"), {}), (("smlpnet", "1", "remat"), {}))
    for name in ("loss", "norm", "evaluation", "averaged"):
        np.testing.assert_allclose(of_jax[1][name], of_jax[0][name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_units_end_at_every_residual_sum(family):
    model = losses.build(family)
    ends = [end._keras_history.operation.name for _, end in _units(model)]
    sums = [layer.name for layer in model.layers if layer.name.endswith("_add")]
    assert sums
    assert set(sums) <= set(ends)
    assert not any("_norm" in name for name in ends if name.startswith("block"))


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_stored_has_one_axis_of_positions(family, monkeypatch):
    """A TPU pads rows and columns of a grid to tiles, each by itself."""
    stored = []

    def noting(function):
        def noted(x, *weights):
            y, *state = function(x, *weights)
            stored.extend((x, y))
            return y, *state

        return noted

    monkeypatch.setattr(remat_module, "_remat", noting)
    model = losses.build(family)
    y = Recomputed(model)(tf.zeros((2, 16, 16, 3)))
    assert stored
    assert {len(x.shape) for x in stored} == {3}
    assert y.shape == (2, *model.output_shape[1:])


def products(function, *args):
    """Counts the matrix products in the graph of a function."""
    graph = tf.function(function).get_concrete_function(*args).graph.as_graph_def()
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    return sum("MatMul" in node.op for node in nodes)


def test_the_insides_of_residuals_are_computed_twice():
    model = losses.build("mlp_mixer")
    x = tf.zeros((2, 16, 16, 3))

    def gradient(forward):
        def compute(x):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(forward(x))
            return tape.gradient(loss, model.trainable_variables)

        return compute

    stored = products(gradient(lambda x: model(x, training=True)), x)
    recomputed = products(gradient(Recomputed(model)), x)
    assert recomputed == stored + 2 * 2 * 2  # Blocks, residuals of each, products of each.
