"""What a family is: a name, how its images are prepared, foreign names of its weights, variants."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from keras_mixers import weights as weight_files
from keras_mixers.preprocessing import Preprocessing

if TYPE_CHECKING:
    from keras_mixers.models.mixer_model import MixerModel
    from keras_mixers.weights.names import Naming

_FAMILIES: "dict[str, Family]" = {}


class Family:
    """A family of models; the file of a family makes one.

    Args:
        name: Of its module.
        preprocessing: The `Preprocessing` that is meant where weights do not say otherwise.
        namings: Foreign names of its weights, a `keras_mixers.weights.names.Naming` for each
            codebase.
    """

    def __init__(
        self, name: str, preprocessing: Preprocessing, namings: "Iterable[Naming]" = ()
    ) -> None:
        self.name, self.preprocessing, self.namings = name, preprocessing, tuple(namings)
        self.variants: list[Callable] = []
        _FAMILIES[name] = self

    def variant(
        self, builder: "Callable[..., MixerModel]", **row: Any
    ) -> "Callable[[Callable], Callable[..., MixerModel]]":
        """Decorator that makes a constructor of a function with nothing but a name and a docstring.

        The constructor has the signature of `builder`, with the arguments in `row` as its defaults:
        one decorated function is one row of the paper's table of variants.
        """
        signature = inspect.signature(builder)
        parameters = signature.parameters.values()
        signature = signature.replace(
            parameters=[p.replace(default=row.get(p.name, p.default)) for p in parameters]
        )

        def decorate(function):
            @functools.wraps(function)
            def construct(*args, **kwargs):
                bound = signature.bind(*args, **kwargs)
                bound.apply_defaults()
                weights = bound.arguments["weights"]
                if bound.arguments["preprocessing"] is None:
                    known = weight_files.published_row(function.__name__, weights)
                    bound.arguments["preprocessing"] = known and known.preprocessing
                bound.arguments["weights"] = weight_files.path_of(function.__name__, weights)
                return builder(*bound.args, **bound.kwargs)

            construct.__signature__ = signature
            text = inspect.cleandoc(function.__doc__)
            construct.__doc__ = f"{text}\n\nArguments and errors: see `{builder.__name__}`."
            self.variants.append(construct)
            return construct

        return decorate


def of_constructor(name):
    """Returns the `Family` of a constructor, such as "MLPMixerB16", or None where there is none."""
    from keras_mixers import models

    module = models.module_of(name)
    return module and module.FAMILY


def all_namings():
    """Returns the `Naming`s of all families."""
    from keras_mixers import models

    models.import_families()
    return tuple(naming for family in _FAMILIES.values() for naming in family.namings)


def of(model):
    """Returns the `Family` of a model, or None where it is of none."""
    return _FAMILIES.get(getattr(model, "family", None))
