"""MLP ("mixer") vision models for Keras 3."""

from keras_mixers import checkpoints, layers, models
from keras_mixers.checkpoints import resize
from keras_mixers.models import (
    S2MLP,
    VARIANTS,
    MLPMixer,
    MLPMixerB16,
    MLPMixerB32,
    MLPMixerH14,
    MLPMixerL16,
    MLPMixerL32,
    MLPMixerS4,
    MLPMixerS16,
    MLPMixerS32,
    S2MLPDeep,
    S2MLPWide,
    SMLPNet,
    SMLPNetB,
    SMLPNetS,
    SMLPNetT,
    mlp_mixer,
    s2_mlp,
    smlpnet,
)

__version__ = "0.1.0"

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
    "checkpoints",
    "layers",
    "mlp_mixer",
    "models",
    "resize",
    "s2_mlp",
    "smlpnet",
]
