"""The size of every public variant."""

import inspect
import math

import pytest

import keras_mixers
from keras_mixers.evaluation.costs import without_values

# Trainable parameters with 1000 classes at 224 x 224. MLP-Mixer B/16, B/32 and L/16 are asserted by
# Google's own tests (vision_transformer, vit_jax/models_test.py); the other Mixers follow from the
# paper's Table 1, sMLPNet from its official code (microsoft/SPACH), S2-MLP, which has none, from
# the paper's description of its block.
PARAMETERS = {
    "MLPMixerS32": 19_104_624,
    "MLPMixerS16": 18_528_264,
    "MLPMixerS4": 30_225_384,
    "MLPMixerB32": 60_293_428,
    "MLPMixerB16": 59_880_472,
    "MLPMixerL32": 206_939_264,
    "MLPMixerL16": 208_196_168,
    "MLPMixerH14": 432_350_952,
    "S2MLPWide": 72_239_848,
    "S2MLPDeep": 53_916_520,
    "SMLPNetT": 24_123_584,
    "SMLPNetS": 48_558_136,
    "SMLPNetB": 65_880_408,
}
VARIANTS = {
    variant.__name__: variant for variants in keras_mixers.VARIANTS.values() for variant in variants
}


def mixer_parameters(patch, channels, blocks, tokens_mlp_dim, channels_mlp_dim):
    """Counted by hand from the paper's description."""
    tokens = (224 // patch) ** 2
    token_mlp = 2 * tokens * tokens_mlp_dim + tokens_mlp_dim + tokens
    channel_mlp = 2 * channels * channels_mlp_dim + channels_mlp_dim + channels
    block = 4 * channels + token_mlp + channel_mlp
    stem = patch * patch * 3 * channels + channels
    return stem + blocks * block + 2 * channels + 1000 * channels + 1000


def test_every_public_variant_is_listed():
    families = set(keras_mixers.VARIANTS)
    public = {
        name
        for name in keras_mixers.__all__
        if inspect.isfunction(getattr(keras_mixers, name))
        and name not in {*families, "list_models", "list_weights", "resize"}
    }
    assert public == set(VARIANTS)


# Weights that are not trained: moving statistics, of sMLPNet's norms alone.
STATISTICS = {"SMLPNetT": 30_080, "SMLPNetS": 52_992, "SMLPNetB": 61_824}


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters(name):
    with without_values():
        model = VARIANTS[name]()
        trained, other = (
            sum(math.prod(weight.shape) for weight in weights)
            for weights in (model.trainable_weights, model.non_trainable_weights)
        )
    assert trained == PARAMETERS[name]
    assert other == STATISTICS.get(name, 0)
    assert model.input_shape == (None, 224, 224, 3)
    assert model.output_shape == (None, 1000)


def test_parameters_of_s4_follow_from_the_formula():
    """The one variant without a published count."""
    assert mixer_parameters(16, 768, 12, 384, 3072) == PARAMETERS["MLPMixerB16"]
    assert mixer_parameters(4, 512, 8, 256, 2048) == PARAMETERS["MLPMixerS4"]


@pytest.mark.parametrize("name", VARIANTS)
def test_signature_and_docstring(name):
    """What help() and an editor show: Keras' arguments in Keras' order, then the paper's."""
    signature = inspect.signature(VARIANTS[name])
    assert list(signature.parameters)[:9] == [
        "include_top",
        "weights",
        "input_tensor",
        "input_shape",
        "pooling",
        "classes",
        "classifier_activation",
        "include_preprocessing",
        "name",
    ]
    assert signature.parameters["include_preprocessing"].default is True
    assert signature.parameters["preprocessing"].default is None
    required = [p for p in signature.parameters.values() if p.default is inspect.Parameter.empty]
    assert required == []
    assert "parameters" in VARIANTS[name].__doc__
    assert VARIANTS[name].__name__ == name


def test_variants_take_arguments_by_position_and_by_name():
    model = keras_mixers.MLPMixerS32(True, None, None, (64, 64, 3), num_blocks=1, classes=7)
    assert model.output_shape == (None, 7)
    assert model.name == "mlp_mixer_s32"
    with pytest.raises(TypeError, match="num_block"):
        keras_mixers.MLPMixerS32(num_block=1)
