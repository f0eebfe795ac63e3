"""The model that a configuration names: any public constructor, with any of its arguments."""

import dataclasses
import inspect
import logging
import pathlib
import re

from etils import epath

import keras_mixers
from keras_mixers import weights as weight_files
from keras_mixers.errors import UsageError, did_you_mean
from keras_mixers.models import family
from keras_mixers.training import image_size, run_folder
from keras_mixers.training.model_options import BY_OTHER_SETTINGS

_log = logging.getLogger("keras_mixers")


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


def resolved(config, earlier=None):
    """Returns `config` with what the weights it begins with say of the model.

    That is the activation and, for "block_diagonal", the wider token mixing: so that the model can
    be built again where these weights are not.

    Args:
        config: A `TrainingConfig`.
        earlier: That of the run which goes on, or None. It has what its weights said, where these
            are not there any more.

    Raises:
        UsageError: The weights cannot be fetched or read.
    """
    check(config)
    if config.weights is None:
        return config
    try:
        by_weights, needed = _by_weights(config)
    except ValueError as error:
        if earlier and {*config.model_options} <= {*earlier.model_options}:
            return dataclasses.replace(config, model_options=earlier.model_options)
        raise UsageError(f"--weights: {error}") from None
    arguments = by_weights | config.model_arguments() | needed
    options = tuple(f"{name}={value}" for name, value in arguments.items())
    return dataclasses.replace(config, model_options=options)


def _by_weights(config):
    """Arguments of the constructor that the weights suggest, and those that they require."""
    source = weight_files.describe(weights_file(config), namings=_namings(config.model))
    _report_scaling(config, source.preprocessing)
    parameters = inspect.signature(_constructors()[config.model]).parameters
    suggested, required = {}, {}
    if "activation" in parameters and source.activation:
        suggested["activation"] = source.activation
    if "tokens_mlp_dim" in parameters and config.resize == "block_diagonal":
        patch_size = parameters["patch_size"].default
        patch_size = config.model_arguments().get("patch_size", patch_size)
        grid = tuple(side // patch_size for side in config.preprocessing.size)
        times = weight_files.tiles(source, grid)
        required["tokens_mlp_dim"] = times * source.tokens_mlp_dim
    return suggested, required


def _report_scaling(config, theirs):
    """Logs a line where the weights expect images that are scaled in another way than the run's.

    Or may do so, because nothing says it.
    """
    ours = config.preprocessing
    if theirs is not None and theirs.scales_like(ours):
        return
    expects = "does not say how its images are scaled"
    if theirs is not None:
        expects = f"expects images of mean {_shown(theirs.mean)} and std {_shown(theirs.std)}"
    _log.warning(
        "--weights %s %s; this run scales them by --mean %s and --std %s",
        *(config.weights, expects, _shown(ours.mean), _shown(ours.std)),
    )


def _shown(numbers):
    return " ".join(f"{number:g}" for number in numbers)


def weights_file(config):
    """Returns the path of the weights to begin with, fetched if need be; a run's are model.keras.

    Raises:
        ValueError: There are none of that name, or they cannot be fetched.
    """
    path = pathlib.Path(config.weights).expanduser()
    if path.is_dir() and (path / "config.json").exists():
        if not (path / "model.keras").exists():
            raise ValueError(
                "a run must have come to its end, with model.keras in its folder; start its "
                f"command again. Received: {config.weights}"
            )
        return path / "model.keras"
    return path if path.is_file() else weight_files.path_of(config.model, config.weights)


def build_to_begin(config, class_names, warn):
    """Returns what `build` does, with the weights that training begins with.

    The head is new where it is known to be of other classes, by the labels.txt beside the weights.

    Args:
        config: A `TrainingConfig`.
        class_names: Of the data.
        warn: Called with a sentence where the head of as many classes is left out.

    Raises:
        UsageError: There is no such model, or the weights are not its.
    """
    model = build(config, len(class_names))
    if config.weights is None:
        return model
    new_head = model.head.get_weights()
    try:
        path = weights_file(config)
        # What `resolved` has said of their preprocessing is not said again.
        weight_files.assign(model, path, config.resize, namings=model.namings)
    except ValueError as error:
        raise UsageError(f"--weights: {error}") from None
    theirs = run_folder.class_names(epath.Path(path).parent)
    if theirs and len(theirs) == len(class_names) and theirs != tuple(class_names):
        model.head.set_weights(new_head)
        warn("weights: the head was left out, because it is of other classes")
    return model


def build(config, classes):
    """Returns the model that `config` describes, from images to logits.

    Raises:
        UsageError: There is none.
    """
    check(config)
    arguments = {
        "input_shape": config.input_shape,
        "classes": classes,
        "classifier_activation": None,
        "drop_path_rate": config.drop_path_rate,
        "preprocessing": config.preprocessing,
    }
    try:
        model = _constructors()[config.model](**arguments | config.model_arguments())
    except Exception as error:  # Of many kinds: each backend has its own where memory is short.
        size = image_size.shown(config.image_size)
        raise UsageError(
            f"--model {config.model} cannot be built with --image-size {size} and {classes:,} "
            f"classes: {_reason(error)}"
        ) from None
    bias = model.head.bias
    bias.assign(bias + config.head_bias)
    _freeze(model, config)
    return model


def depths(model):
    """Returns `{layer: depth}`: 0 for the stem, 1 for the first block, one more for the head.

    What leads from a stage to the next belongs to the block after it, the last norm to the head.
    """
    found = dict.fromkeys(model.layers, len(model.blocks) + 1)
    for depth, block in enumerate(model.blocks, start=1):
        found |= dict.fromkeys(block.layers, depth)
    before = model.layers[: model.layers.index(model.stem[0])]
    return found | dict.fromkeys([*before, *model.stem], 0)


def _freeze(model, config):
    """Leaves `trained_blocks` of the last blocks trainable beside the head; for None everything."""
    trained_blocks = config.trained_blocks
    if trained_blocks is None:
        return
    by_layer = depths(model)
    blocks = max(by_layer.values()) - 1
    if trained_blocks > blocks:
        raise UsageError(
            f"--trained-blocks must be at most {blocks}, the blocks of --model {config.model}, or "
            f"be left out to train the stem too. Received: {trained_blocks}"
        )
    first = blocks + 1 - trained_blocks
    for layer, depth in by_layer.items():
        layer.trainable = depth >= first and (trained_blocks > 0 or layer is model.head)


def _namings(model):
    """Foreign names of the weights of a constructor's family."""
    return family.of_constructor(model).namings


def _constructors():
    variants = [v.__name__ for each in keras_mixers.models.VARIANTS.values() for v in each]
    names = (*keras_mixers.models.VARIANTS, *variants)
    return {name: getattr(keras_mixers, name) for name in names}


def _reason(error):
    """What an error says, without what Keras puts around it when a layer raises it."""
    lines = re.sub(r"\x1b\[\d+m", "", str(error)).splitlines()
    lines = [line for line in lines if line and not line.startswith("Exception encountered")]
    return lines[0] if lines else type(error).__name__
