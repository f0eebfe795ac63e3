"""More arguments of a model's constructor, as a command line and config.json have them."""

import ast
from typing import Annotated

import pydantic

BY_OTHER_SETTINGS = {
    "input_shape": "give --image-size and --channels",
    "classes": "they are the data's",
    "classifier_activation": "--loss takes logits",
    "drop_path_rate": "give --drop-path-rate",
    "include_preprocessing": "images are trained on as pixels",
    "include_top": "a classifier is what is trained",
    "pooling": "it is for models without a classifier",
    "preprocessing": "give --mean and --std",
    "input_tensor": "the images are the input",
    "weights": "give --weights",
    "resize": "give --resize",
}


def _check_model_option(option):
    name, equals, _ = option.partition("=")
    if not (equals and name.isidentifier()):
        raise ValueError("must be like hidden_dim=128")
    if name in BY_OTHER_SETTINGS:
        raise ValueError(f"must not hold {name}: {BY_OTHER_SETTINGS[name]}")
    return option


ModelOption = Annotated[str, pydantic.AfterValidator(_check_model_option)]


def parsed(options):
    """Returns options such as "hidden_dim=128" as a dict; what is no Python value is a string."""
    pairs = (option.partition("=") for option in options)
    return {name: _python_value(value) for name, _, value in pairs}


def _python_value(text):
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text
