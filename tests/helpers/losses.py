"""Twenty steps of a small model; as a command, on JAX: python -m tests.helpers.losses FAMILY N.

FAMILY shares: compares the layers' shares of a step instead.
"""

import dataclasses
import json
import sys

import keras
import numpy as np
import tensorflow as tf

import keras_mixers
from keras_mixers.data.dataset import ArrayData
from keras_mixers.data.unreadable_images import indices
from keras_mixers.training import distribution
from keras_mixers.training.config import TrainingConfig

CONFIG = TrainingConfig(
    batch_size=16,
    epochs=4,
    warmup_epochs=0,
    loss="softmax",
    mixup=0.0,
    learning_rate=1e-2,
    clip_norm=0.5,
    ema_decay=0.9,
)


class WithUnreadableImages(ArrayData):
    """Calls some images unreadable, by their first pixel, by which it numbers them as well."""

    def training_batches(self, *args):
        def call_some_unreadable(images, labels, found):
            pixels = images[:, 0, 0, 0]
            return images, labels, tf.where(pixels > 1, tf.cast(1000 * pixels, tf.int32), found)

        return super().training_batches(*args).map(call_some_unreadable)


def data_set():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(80, 16, 16, 3)).astype("float32")
    return WithUnreadableImages(images, rng.integers(0, 5, 80), classes=5)


def build(family):
    keras.utils.set_random_seed(0)
    common = {
        "input_shape": (16, 16, 3),
        "classes": 5,
        "classifier_activation": None,
        "include_preprocessing": False,
    }
    mixer = {"patch_size": 4, "num_blocks": 2, "hidden_dim": 32, "channels_mlp_dim": 64}
    builder, arguments = {
        "mlp_mixer": (keras_mixers.MLPMixer, mixer | {"tokens_mlp_dim": 16}),
        "s2_mlp": (keras_mixers.S2MLP, mixer),
        "smlpnet": (
            keras_mixers.SMLPNet,
            {"patch_size": 2, "hidden_dim": 8, "depths": (1, 1)},
        ),
        "mixer_without_drops": (keras_mixers.MLPMixer, mixer | {"tokens_mlp_dim": 16}),
    }[family]
    rate = 0.0 if family == "mixer_without_drops" else 0.2
    return builder(drop_path_rate=rate, **common, **arguments)


def run(engine, config, steps=20):
    """Returns the steps' losses and gradient norms, and the evaluation after them."""
    data = data_set()
    batches = iter(engine.batches(lambda shard: data.training_batches(config, 0, shard)))
    taken, unreadable, unread = [], [], []
    for _ in range(steps):
        parts = [next(batches) for _ in range(config.gradient_accumulation_steps)]
        sums = engine.train_step([part[:2] for part in parts])
        taken.append({name: float(value) for name, value in sums.items()})
        unread.append(engine.gathered([part[2] for part in parts]))
        if engine.is_chief:  # The processes of a job read at moments of their own.
            unreadable.append(sorted(indices(unread.pop())))
    unreadable += [sorted(indices(marks)) for marks in unread]

    def evaluate():
        parts = engine.batches(lambda shard: data.evaluation_batches(config, shard))
        return sum(float(engine.evaluate_step(*batch[:3])["loss"]) for batch in parts)

    return {
        "loss": [sums["loss"] for sums in taken],
        "norm": [sums["norm"] for sums in taken],
        "unreadable": unreadable,
        "evaluation": evaluate(),
        "averaged": engine.with_ema(evaluate),
    }


def check_averages(make):
    """Compares them with those by hand after a step, and with what `with_ema` shows.

    Args:
        make: Function of a `TrainingConfig` that returns an engine.
    """
    config = dataclasses.replace(CONFIG, ema_decay=0.75)
    taker = make(config)
    before = _weights(taker)
    batches = iter(taker.batches(lambda shard: data_set().training_batches(config, 0, shard)))
    taker.train_step([next(batches)[:2]])
    after = _weights(taker)
    averages = taker.state()["average"]
    assert any("moving_variance" in weight.path for weight in taker.model.weights)
    for average, old, new in zip(averages, before, after, strict=True):
        assert not np.array_equal(old, new)
        np.testing.assert_allclose(average, 0.75 * old + 0.25 * new, rtol=1e-5, atol=1e-7)
    for seen, average in zip(taker.with_ema(lambda: _weights(taker)), averages, strict=True):
        np.testing.assert_array_equal(seen, average)
    for weight, value in zip(_weights(taker), after, strict=True):
        np.testing.assert_array_equal(weight, value)


def check_accumulation(make):
    """Compares a step on a batch in four parts with one on the whole of it.

    Args:
        make: Function of a `TrainingConfig` that returns an engine.
    """
    found = []
    for parts in (1, 4):
        config = dataclasses.replace(CONFIG, gradient_accumulation_steps=parts)
        taker = make(config)
        batches = iter(
            taker.batches(
                lambda shard, config=config: data_set().training_batches(config, 0, shard)
            )
        )
        sums = taker.train_step([next(batches)[:2] for _ in range(parts)])
        found.append([float(sums[name]) for name in ("loss", "norm", "correct")])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4)


def check_shares(make, **changes):
    """Compares a step with `layer_decay` with one without, weight decay included.

    Of a model of two blocks, stem, blocks and head take 1/8, 1/4, 1/2 and all of it.

    Args:
        make: Function of a `TrainingConfig` that returns an engine.
        changes: Of the settings.
    """
    whole, part = (
        _step(make, dataclasses.replace(CONFIG, layer_decay=decay, **changes)) for decay in (1, 0.5)
    )
    shares = {"stem": 1 / 8, "block_0": 1 / 4, "stage_1": 1 / 2, "block_1": 1 / 2}
    for path, step in whole.items():
        share = next((s for name, s in shares.items() if path.startswith(name)), 1)
        assert np.abs(step).max() > 0, path
        np.testing.assert_allclose(part[path], share * step, rtol=1e-2, atol=2e-7, err_msg=path)


def _step(make, config):
    """Returns the change of each trainable weight in one step, by its path."""
    taker = make(config)
    weights = taker.model.trainable_weights
    before = [keras.ops.convert_to_numpy(weight) for weight in weights]
    batches = iter(taker.batches(lambda shard: data_set().training_batches(config, 0, shard)))
    taker.train_step([next(batches)[:2]])
    taker.sync_model()
    after = [keras.ops.convert_to_numpy(weight) for weight in weights]
    return {weight.path: a - b for weight, a, b in zip(weights, after, before, strict=True)}


def _weights(engine):
    engine.sync_model()
    return [keras.ops.convert_to_numpy(weight) for weight in engine.model.weights]


def check_several_labels(make):
    """Compares what a step and an evaluation count of several labels with NumPy.

    Args:
        make: Function of a `TrainingConfig` that returns an engine of a model without randomness.
    """
    config = dataclasses.replace(
        CONFIG, multi_label=True, loss="sigmoid", gradient_accumulation_steps=2
    )
    taker = make(config)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(16, 16, 16, 3)).astype("float32")
    labels = (rng.random((16, 5)) < 0.4).astype("float32")
    logits = keras.ops.convert_to_numpy(taker.model(images, training=False)).astype("float64")
    each = np.logaddexp(0, logits) - labels * logits

    def parts(*arrays, count):
        """Given to all devices as data sets are."""
        data = tf.data.Dataset.from_tensor_slices(arrays).batch(16 // count)
        size = 16 // count // taker.replicas
        return list(taker.batches(lambda shard: data.unbatch().batch(size, drop_remainder=True)))

    weights = (np.arange(16) % 5 > 0).astype("float32")
    found = [taker.evaluate_step(*part) for part in parts(images, labels, weights, count=1)]
    totals = {n: sum(np.asarray(each[n], "float64") for each in found) for n in found[0]}
    kept = weights > 0
    np.testing.assert_allclose(totals["loss"], each[kept].sum(), rtol=1e-4)
    assert totals["count"] == kept.sum()
    for name, real in (("with_label", labels), ("without", 1 - labels)):
        np.testing.assert_array_equal(totals[name].sum(axis=1), real[kept].sum(axis=0))
        mean = (totals[name] @ (np.arange(1024) + 0.5)).sum() / 1024
        expected = (1 / (1 + np.exp(-logits / 4)) * real)[kept].sum()
        np.testing.assert_allclose(mean, expected, rtol=1e-3)

    sums = taker.train_step(parts(images, labels, count=2))
    np.testing.assert_allclose(float(sums["loss"]), each.sum(), rtol=1e-4)
    assert float(sums["found"]) == ((logits >= 0) * labels).sum()
    assert float(sums["either"]) == (logits >= 0).sum() + labels.sum()


def main(family, count, *switches):
    if count == "shares":
        make = distribution.connect(CONFIG).make_engine
        check_shares(lambda config: make(config, lambda: build(family), 5))
        print(json.dumps("compared"))
        return
    changes = dict.fromkeys(switches, True)  # Such as multi_host.
    config = dataclasses.replace(CONFIG, cpu_devices=int(count), **changes)
    make_engine = distribution.connect(config).make_engine
    print(json.dumps(run(make_engine(config, lambda: build(family), 5), config)))


if __name__ == "__main__":
    main(*sys.argv[1:])
