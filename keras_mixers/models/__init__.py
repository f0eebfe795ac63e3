"""The families of mixer models, in the order of their papers."""

from keras_mixers.models import mlp_mixer, s2_mlp, smlpnet
from keras_mixers.models.mlp_mixer import (
    MLPMixer,
    MLPMixerB16,
    MLPMixerB32,
    MLPMixerH14,
    MLPMixerL16,
    MLPMixerL32,
    MLPMixerS4,
    MLPMixerS16,
    MLPMixerS32,
)
from keras_mixers.models.s2_mlp import S2MLP, S2MLPDeep, S2MLPWide
from keras_mixers.models.smlpnet import SMLPNet, SMLPNetB, SMLPNetS, SMLPNetT

# Every variant, by family, for tables, tests and command lines.
VARIANTS = {
    "MLPMixer": (
        MLPMixerS32,
        MLPMixerS16,
        MLPMixerS4,
        MLPMixerB32,
        MLPMixerB16,
        MLPMixerL32,
        MLPMixerL16,
        MLPMixerH14,
    ),
    "S2MLP": (S2MLPWide, S2MLPDeep),
    "SMLPNet": (SMLPNetT, SMLPNetS, SMLPNetB),
}

__all__ = [
    "S2MLP",
    "VARIANTS",
    "MLPMixer",
    "MLPMixerB16",
    "MLPMixerB32",
    "MLPMixerH14",
    "MLPMixerL16",
    "MLPMixerL32",
    "MLPMixerS4",
    "MLPMixerS16",
    "MLPMixerS32",
    "S2MLPDeep",
    "S2MLPWide",
    "SMLPNet",
    "SMLPNetB",
    "SMLPNetS",
    "SMLPNetT",
    "mlp_mixer",
    "s2_mlp",
    "smlpnet",
]
