"""One step, on one device and on several: the same."""

import dataclasses
import functools
import json
import os
import pathlib
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mixers.training import distribution
from keras_mixers.training.tensorflow_backend import TensorFlowEngine
from tests.helpers import losses
from tests.helpers.sampling import extended

pytestmark = pytest.mark.tensorflow

ROOT = pathlib.Path(__file__).resolve().parents[2]
FAMILIES = ("mlp_mixer", "s2_mlp", "smlpnet")
# It has all that differs in training: statistics, stochastic depth, two stages.
SMLPNET_FIRST = ("smlpnet", *extended("mlp_mixer", "s2_mlp"))


def engine(strategy, family, **changes):
    config = dataclasses.replace(losses.CONFIG, **changes)
    return TensorFlowEngine(strategy, config, lambda: losses.build(family), 5), config


def two_replicas():
    return distribution.mirrored(("CPU:0", "CPU:1"))


@functools.cache
def losses_of_one(family):
    """Twenty steps on one device, in float32."""
    return losses.run(*engine(tf.distribute.get_strategy(), family))


@pytest.mark.parametrize("family", SMLPNET_FIRST)
def test_two_replicas_give_the_losses_of_one(family):
    """Stochastic depth, clipping, averages and batch normalization included."""
    one, two = losses_of_one(family), losses.run(*engine(two_replicas(), family))
    assert len(one["loss"]) == 20
    for name in ("loss", "norm", "evaluation", "averaged"):
        np.testing.assert_allclose(two[name], one[name], rtol=1e-4, err_msg=name)
    assert one["evaluation"] != one["averaged"]
    assert two["unreadable"] == one["unreadable"]
    assert sum(map(len, one["unreadable"])) > 20


def test_accumulation_gives_the_losses_of_a_whole_batch():
    """Without stochastic depth, whose draws differ; with clipping, which comes after the sum."""
    strategy = tf.distribute.get_strategy()
    whole = losses.run(*engine(strategy, "mixer_without_drops"))
    parts = losses.run(*engine(strategy, "mixer_without_drops", gradient_accumulation_steps=4))
    for name in ("loss", "norm", "evaluation", "averaged"):
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-4, err_msg=name)


@pytest.mark.slow
def test_accumulation_does_not_depend_on_replicas():
    one, two = (
        losses.run(*engine(strategy, "smlpnet", gradient_accumulation_steps=2))
        for strategy in (tf.distribute.get_strategy(), two_replicas())
    )
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=1e-4)


def run_jax(*commands):
    """Runs tests/helpers/losses.py in processes of their own; returns what each printed."""
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.losses", *arguments],
            cwd=ROOT,
            env=environment | extra,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for arguments, extra in commands
    ]
    results = []
    for process in runs:
        out, error = process.communicate(timeout=300)
        assert process.returncode == 0, error[-3000:]
        results.append(json.loads(out.splitlines()[-1]))  # Gloo prints lines before.
    return results


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_jax_one_device_two_devices_two_processes(family):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    job = {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
    }
    (one,) = run_jax(((family, "1"), {}))
    (two,) = run_jax(((family, "2"), {}))
    first, second = run_jax(
        *[
            ((family, "1", "multi_host"), job | {"KERAS_DISTRIBUTION_PROCESS_ID": process})
            for process in "01"
        ]
    )
    for other in (two, first, second):
        for name in ("loss", "norm", "evaluation", "averaged"):
            np.testing.assert_allclose(other[name], one[name], rtol=1e-4, err_msg=name)
        assert other["unreadable"] == one["unreadable"]


def all_nodes(graph_def):
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


@pytest.mark.parametrize("family", SMLPNET_FIRST)
def test_the_step_has_no_nested_xla_function_and_no_dynamic_shape(family):
    """Both fail on a TPU host."""
    taker, config = engine(two_replicas(), family, gradient_accumulation_steps=2)

    def as_bytes(images, labels, bad):  # As images travel: scaled on the device.
        return tf.cast(255 * images, tf.uint8), labels, bad

    batches = iter(
        taker.batches(
            lambda shard: losses.data_set().training_batches(config, 0, shard).map(as_bytes)
        )
    )
    parts = tuple(next(batches)[:2] for _ in range(2))
    step = taker._train.get_concrete_function(parts)
    graph = step.graph.as_graph_def(add_shapes=True)
    assert len(list(all_nodes(graph))) > 100
    assert_fit_for_tpu(graph)


def assert_fit_for_tpu(graph):
    for function in graph.library.function:
        assert not function.attr["_XlaMustCompile"].b, function.signature.name
    for node in all_nodes(graph):
        assert not node.attr["_XlaMustCompile"].b, node.name
        for shape in node.attr["_output_shapes"].list.shape:
            assert not shape.unknown_rank, f"{node.name} ({node.op}) has an unknown shape"
            sizes = [dimension.size for dimension in shape.dim]
            assert -1 not in sizes, f"{node.name} ({node.op}) has shape {sizes}"


def test_that_test_sees_what_it_looks_for():
    @tf.function(jit_compile=True)
    def compiled(x):
        return x + 1

    nested = tf.function(lambda x: compiled(x)).get_concrete_function(tf.TensorSpec((2,)))
    plus_one = tf.function(lambda x: x + 1)
    dynamic = plus_one.get_concrete_function(tf.TensorSpec((None, 2)))
    unknown = plus_one.get_concrete_function(tf.TensorSpec(None))
    for function in (nested, dynamic, unknown):
        with pytest.raises(AssertionError):
            assert_fit_for_tpu(function.graph.as_graph_def(add_shapes=True))


@pytest.mark.slow
def test_state_goes_round():
    one, config = engine(tf.distribute.get_strategy(), "smlpnet")
    losses.run(one, config)
    two, _ = engine(two_replicas(), "smlpnet")
    two.load_state(one.state())
    for name, values in one.state().items():
        for value, same in zip(values, two.state()[name], strict=True):
            np.testing.assert_array_equal(value, same)
    again = [losses.run(*pair)["loss"] for pair in ((one, config), (two, config))]
    np.testing.assert_allclose(*again, rtol=1e-4)


def test_averages_by_hand():
    strategy = tf.distribute.get_strategy()
    losses.check_averages(
        lambda config: TensorFlowEngine(strategy, config, lambda: losses.build("smlpnet"), 5)
    )


def test_mixed_precision_computes_in_bfloat16_and_keeps_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    mixed, config = engine(tf.distribute.get_strategy(), "smlpnet")
    assert mixed.model.get_layer("stem").compute_dtype == "bfloat16"
    for values in mixed.state().values():
        assert "bfloat16" not in {str(value.dtype) for value in values}
    losses_of_mixed = losses.run(mixed, config, steps=4)["loss"]
    keras.config.set_dtype_policy("float32")
    whole = losses_of_one("smlpnet")["loss"][:4]
    np.testing.assert_allclose(losses_of_mixed[:3], whole[:3], rtol=0.05)
    assert losses_of_mixed != whole


@pytest.mark.parametrize("replicas", [1, 2])
def test_several_labels_as_numpy(replicas):
    one, two = tf.distribute.get_strategy, lambda: distribution.mirrored(("CPU:0", "CPU:1"))
    strategy = two() if replicas == 2 else one()
    losses.check_several_labels(
        lambda config: TensorFlowEngine(
            strategy, config, lambda: losses.build("mixer_without_drops"), 5
        )
    )
