import importlib
import re

import keras
import pytest

import keras_mixers
from keras_mixers import presets
from keras_mixers.evaluation import costs, tables
from tests.helpers.sampling import extended

pytestmark = pytest.mark.tensorflow

# Giga multiply-adds at 224 x 224, from the papers' arithmetic and the official code.
MACS = {
    "MLPMixerS32": 1.002,
    "MLPMixerS16": 3.777,
    "MLPMixerB32": 3.238,
    "MLPMixerB16": 12.602,
    "MLPMixerL32": 11.253,
    "MLPMixerL16": 44.548,
    "MLPMixerH14": 120.990,
    "S2MLPWide": 13.989,
    "S2MLPDeep": 10.463,
    "SMLPNetT": 4.989,
    "SMLPNetS": 10.312,
    "SMLPNetB": 13.987,
}


ONE_OF_EACH = ("MLPMixerB16", "S2MLPWide", "SMLPNetT")


@pytest.mark.parametrize(
    ("name", "macs"),
    [case if case[0] in ONE_OF_EACH else extended(case)[0] for case in MACS.items()],
)
def test_multiply_adds(name, macs):
    with costs.without_values():
        model = getattr(keras_mixers, name)()
        assert costs.multiply_adds(model) / 1e9 == pytest.approx(macs, rel=0.005)


def test_counted_by_hand():
    """One of each operation: 4*4*5*(2*2*3), 4*4*5*(3*3), 16*5*7, 7*16*16."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(5, 2, strides=2, name="patches")(inputs)
    x = keras.layers.DepthwiseConv2D(3, padding="same")(x)
    x = keras.layers.Dense(7)(x)
    x = keras.layers.Reshape((16, 7))(x)
    x = keras.layers.Permute((2, 1))(x)
    model = keras.Model(inputs, keras.layers.Dense(16)(x))
    assert costs.multiply_adds(model) == 960 + 720 + 560 + 1792
    assert costs.multiply_adds(model, "patches") == 960


def test_nothing_of_a_model_without_values_is_left():
    with costs.without_values():
        first = keras.layers.Dense(10**6)
        first.build((None, 10**6))  # 4 TB.
    with keras.StatelessScope():
        pass
    assert keras.layers.Dense(1).name == "dense"


def test_every_variant_has_a_line_with_its_source():
    variants = {v.__name__ for family in keras_mixers.VARIANTS.values() for v in family}
    assert set(tables.PUBLISHED_TOP1) == variants


def test_docstrings_and_presets_have_the_figures_of_the_table():
    """A person reads them there; the table is what a figure is changed in."""
    variants = [v for family in keras_mixers.VARIANTS.values() for v in family]
    texts = [(variant.__name__, variant.__doc__) for variant in variants]
    for name in presets.names():
        module = importlib.import_module(f"keras_mixers.presets.{name}")
        texts.append((getattr(module.CONFIG, "model", None), module.__doc__))
    figure = re.compile(r"top-1[^%.]*?([\d.]+) %|([\d.]+) % top-1")
    said = [
        (name, found)
        for name, text in texts
        if name in tables.PUBLISHED_TOP1 and (found := figure.search(text))
    ]
    assert len(said) == 16
    for name, found in said:
        assert (found[1] or found[2]) == tables.top1(name)[0], name


def test_moving_statistics_are_no_trainable_parameters():
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, keras.layers.BatchNormalization()(inputs))
    assert costs.trainable_parameters(model) == 6
    assert model.count_params() == 12


def test_block_of_s2_mlp():
    counted, formula = costs.s2_mlp_block()
    assert counted == formula == 1_477_248


@pytest.mark.parametrize(
    "growth", ["_mixer_growth", *extended("_s2_mlp_growth", "_smlpnet_growth")]
)
def test_growth_agrees_with_the_papers_formulas(growth):
    with costs.without_values():
        row = getattr(costs, growth)(96 if "smlp" in growth else 112)
    _, side, total, counted, formula = row
    assert side in (96, 112)
    assert counted == formula
    assert float(total.split()[0]) > float(counted.split()[0]) > 0
