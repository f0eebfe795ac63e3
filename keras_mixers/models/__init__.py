"""The families of mixer models, in the order of their papers.

Names are resolved when they are first used (PEP 562), so that Keras can be told of the model class
without all families being imported.
"""

import fnmatch
import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from keras_mixers.models import mlp_mixer, s2_mlp, smlpnet
    from keras_mixers.models.mixer_model import MixerModel
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

    VARIANTS: dict[str, tuple[Callable[..., MixerModel], ...]]

# Constructors by family: the builder, and the rows of its paper's table.
_FAMILIES = {
    "mlp_mixer": (
        "MLPMixer",
        "MLPMixerS32",
        "MLPMixerS16",
        "MLPMixerS4",
        "MLPMixerB32",
        "MLPMixerB16",
        "MLPMixerL32",
        "MLPMixerL16",
        "MLPMixerH14",
    ),
    "s2_mlp": ("S2MLP", "S2MLPWide", "S2MLPDeep"),
    "smlpnet": ("SMLPNet", "SMLPNetT", "SMLPNetS", "SMLPNetB"),
}
_MODULE_OF = {name: family for family, names in _FAMILIES.items() for name in names}
_MODULE_OF["MixerModel"] = "mixer_model"

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
    "list_models",
    "mlp_mixer",
    "s2_mlp",
    "smlpnet",
]


def import_families():
    """Imports the modules of all families, which make themselves known."""
    for family in _FAMILIES:
        importlib.import_module(f"keras_mixers.models.{family}")


def module_of(name):
    """Returns the module of the family that a constructor is of, or None where there is none."""
    family = _MODULE_OF.get(name)
    return importlib.import_module(f"keras_mixers.models.{family}") if family in _FAMILIES else None


# Type checkers take the names from above: with this function, any name would be right to them.
if not TYPE_CHECKING:

    def __getattr__(name):
        if name in _FAMILIES:
            return importlib.import_module(f"keras_mixers.models.{name}")
        if name in _MODULE_OF:
            value = getattr(
                importlib.import_module(f"keras_mixers.models.{_MODULE_OF[name]}"), name
            )
        elif name == "VARIANTS":  # Every variant, by family, for tables, tests and command lines.
            value = {
                builder: tuple(map(__getattr__, variants))
                for builder, *variants in _FAMILIES.values()
            }
        else:
            raise AttributeError(f"module 'keras_mixers.models' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__():
    return sorted([*globals(), *__all__])


def list_models(pattern: str = "*") -> list[str]:
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
    names = [name for _, *variants in _FAMILIES.values() for name in variants]
    return [name for name in names if fnmatch.fnmatchcase(name.lower(), pattern.lower())]
