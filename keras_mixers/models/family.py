"""What a family is: a name, how its images are prepared, foreign names of its weights, variants."""

import functools
import inspect
import textwrap
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from keras_mixers import weights as weight_files
from keras_mixers.preprocessing import Preprocessing

if TYPE_CHECKING:
    from keras_mixers.models.mixer_model import MixerModel
    from keras_mixers.weights.names import Naming

_Function = TypeVar("_Function", bound=Callable)
_FAMILIES: "dict[str, Family]" = {}

# Arguments that every builder has, in its docstring before and after the family's own.
_FIRST_ARGUMENTS = (
    "include_top: Whether to end in pooling and the classifier. Without it the output is the last "
    "feature map, or a vector with `pooling`.\n"
    "input_tensor: A Keras tensor to build the model on, instead of a new input.\n"
    'pooling: Without the top: `None` (feature map), `"avg"` or `"max"`.\n'
    "classes: Number of classes.\n"
    'classifier_activation: `"softmax"`, or `None` for logits.\n'
    "include_preprocessing: Whether the model scales its images itself, and so takes pixels of 0 "
    "to 255, of any numeric type. Without it, images must be scaled by "
    "`model.preprocessing.scale`.\n"
    "name: Of the model."
)
_LAST_ARGUMENTS = (
    "preprocessing: A `keras_mixers.preprocessing.Preprocessing`: how images are prepared. "
    "Defaults to that of the weights, and without weights to the family's: mean {mean} and std "
    "{std} of pixels divided by 255."
)


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
        self.build: Callable | None = None
        self.arguments: Callable | None = None
        _FAMILIES[name] = self

    def builder(self, function: _Function) -> _Function:
        """Decorator of the family's builder, which becomes `build`; completes its docstring.

        In it, `{first_arguments}` and `{last_arguments}` stand for the arguments that the builders
        of all families have.
        """
        self.build = function
        mean, std = self.preprocessing.mean, self.preprocessing.std
        if function.__doc__ is None:  # Python runs with -OO.
            return function
        function.__doc__ = inspect.cleandoc(function.__doc__).format(
            first_arguments=_indented(_FIRST_ARGUMENTS),
            last_arguments=_indented(_LAST_ARGUMENTS.format(mean=mean, std=std)),
        )
        return function

    def from_shapes(self, function: _Function) -> _Function:
        """Decorator of what becomes `arguments`: from the `keras_mixers.weights.Shapes` of a file
        with foreign names to the builder's arguments, but for the preprocessing.
        """
        self.arguments = function
        return function

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
            text = inspect.cleandoc(function.__doc__ or "")
            construct.__doc__ = f"{text}\n\nArguments and errors: see `{builder.__name__}`."
            self.variants.append(construct)
            return construct

        return decorate


def _indented(arguments):
    """Returns lines of `name: description` as below "Args:", the first without its spaces."""
    fill = functools.partial(
        textwrap.fill, width=96, initial_indent=" " * 4, subsequent_indent=" " * 8
    )
    return "\n".join(fill(argument) for argument in arguments.splitlines()).lstrip()


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


def of_naming(naming):
    """Returns the `Family` of a `Naming`, or None where there is none."""
    return next((f for f in _FAMILIES.values() if naming in f.namings), None)


def of(model):
    """Returns the `Family` of a model, or None where it is of none."""
    return _FAMILIES.get(getattr(model, "family", None))
