"""MLP ("mixer") vision models for Keras 3.

Names are resolved when they are first used (PEP 562), so that a command line is parsed without
Keras. Keras knows the layers as soon as both packages are imported, in either order.
"""

import importlib
from typing import TYPE_CHECKING

from keras_mixers import registration

if TYPE_CHECKING:
    from keras_mixers import layers, models, preprocessing, weights
    from keras_mixers.models import (
        S2MLP,
        VARIANTS,
        MixerModel,
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
        list_models,
        mlp_mixer,
        s2_mlp,
        smlpnet,
    )
    from keras_mixers.weights import list_weights, resize

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
    "MixerModel",
    "S2MLPDeep",
    "S2MLPWide",
    "SMLPNet",
    "SMLPNetB",
    "SMLPNetS",
    "SMLPNetT",
    "layers",
    "list_models",
    "list_weights",
    "mlp_mixer",
    "models",
    "preprocessing",
    "resize",
    "s2_mlp",
    "smlpnet",
    "weights",
]

_PACKAGES = ("layers", "models", "preprocessing", "weights")
_FROM_WEIGHTS = ("list_weights", "resize")

# Type checkers take the names from above: with this function, any name would be right to them.
if not TYPE_CHECKING:

    def __getattr__(name):
        if name in _PACKAGES:
            return importlib.import_module(f"keras_mixers.{name}")
        if name not in __all__:
            raise AttributeError(f"module 'keras_mixers' has no attribute {name!r}")
        package = "weights" if name in _FROM_WEIGHTS else "models"
        value = getattr(importlib.import_module(f"keras_mixers.{package}"), name)
        globals()[name] = value
        return value


def __dir__():
    return sorted([*__all__, "__version__"])


registration.with_keras()
