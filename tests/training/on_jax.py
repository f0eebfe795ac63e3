"""A step of the JAX engine, by hand; tests/test_jax_backend.py names this file to pytest."""

from keras_mixers.training import distribution
from tests.helpers import losses


def make(family):
    engine_of = distribution.connect(losses.CONFIG).make_engine
    return lambda config: engine_of(config, lambda: losses.build(family), 5)


def test_averages_as_numpy():
    losses.check_averages(make("smlpnet"))


def test_accumulation_as_numpy():
    losses.check_accumulation(make("mixer_without_drops"))


def test_several_labels_as_numpy():
    losses.check_several_labels(make("mixer_without_drops"))
