"""The model that a configuration names: any public constructor, with any of its arguments."""

import inspect
import re

import keras_mixers
from recipes.training.config import BY_OTHER_SETTINGS
from recipes.training.errors import UsageError, did_you_mean


def check(config):
    """Raises a `UsageError` where there is no such constructor, or it has no such argument."""
    constructors = sorted(_constructors())
    if config.model not in constructors:
        raise UsageError(
            f"--model must be one of {', '.join(constructors)}. Received: {config.model}."
            f"{did_you_mean(config.model, constructors)}"
        )
    parameters = inspect.signature(_constructors()[config.model]).parameters
    allowed = [name for name in parameters if name not in BY_OTHER_SETTINGS]
    given = config.model_arguments()
    for name in given:
        if name not in allowed:
            raise UsageError(
                f"--model-options must be of {config.model}'s {', '.join(allowed)}. Received: "
                f"{name}, in {' '.join(config.model_options)} (a recipe's own, until others are "
                f"given).{did_you_mean(name, allowed)}"
            )
    missing = [n for n in allowed if parameters[n].default is inspect.Parameter.empty]
    missing = [name for name in missing if name not in given]
    if missing:
        variants = [v.__name__ for v in keras_mixers.models.VARIANTS[config.model]]
        raise UsageError(
            f"--model {config.model} needs --model-options for {', '.join(missing)}; "
            f"{' and '.join(variants[:2])} need none."
        )


def build(config, classes):
    """Returns the model that `config` describes, from pictures to logits.

    Raises:
        UsageError: There is none.
    """
    check(config)
    arguments = {
        "input_shape": (config.image_size, config.image_size, 3),
        "classes": classes,
        "classifier_activation": None,
        "drop_path_rate": config.drop_path_rate,
    }
    try:
        model = _constructors()[config.model](**arguments | config.model_arguments())
    except Exception as error:  # Of many kinds: each backend has its own where memory is short.
        raise UsageError(
            f"--model {config.model} cannot be built with --image-size {config.image_size} and "
            f"{classes:,} classes: {_reason(error)}"
        ) from None
    bias = model.get_layer("head").bias
    bias.assign(bias + config.head_bias)
    return model


def _constructors():
    variants = [v.__name__ for each in keras_mixers.models.VARIANTS.values() for v in each]
    names = (*keras_mixers.models.VARIANTS, *variants)
    return {name: getattr(keras_mixers, name) for name in names}


def _reason(error):
    """What an error says, without what Keras puts around it when a layer raises it."""
    lines = re.sub(r"\x1b\[\d+m", "", str(error)).splitlines()
    lines = [line for line in lines if line and not line.startswith("Exception encountered")]
    return lines[0] if lines else type(error).__name__
