"""The families of mixer models, in the order of their papers."""

import fnmatch

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
    "list_models",
    "mlp_mixer",
    "s2_mlp",
    "smlpnet",
]


def list_models(pattern="*"):
    """Returns the names of the variants' constructors, in the order of the papers.

    Args:
        pattern: A shell-style pattern (`fnmatch`), in any case. Defaults to `"*"`.

    Returns:
        A list of strings, empty if none match. `getattr(keras_mixers, name)` is the constructor.

    Raises:
        ValueError: `pattern` is no string.

    Example:

    >>> keras_mixers.list_models("smlp*")
    ['SMLPNetT', 'SMLPNetS', 'SMLPNetB']
    """
    if not isinstance(pattern, str):
        raise ValueError(
            f'`pattern` must be a string such as "smlp*". Received: pattern={pattern!r}'
        )
    names = [variant.__name__ for variants in VARIANTS.values() for variant in variants]
    return [name for name in names if fnmatch.fnmatchcase(name.lower(), pattern.lower())]
