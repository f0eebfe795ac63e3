"""What `keras-mixers` can be told: one module a command, imported when it is asked for."""

import importlib
import sys

COMMANDS = {
    "imagenet": "train a model by a published recipe, on ImageNet or on images of your own",
    "finetune": "fine-tune published weights on images of your own",
    "digits": "train, export and check a small model of each family on handwritten digits",
    "evaluate": "measure the accuracy of a model, a run or an exported file",
    "export": "write a model as a TFLite file or a SavedModel, and check it",
    "demo": "show an exported model in the browser",
    "convert-weights": "convert weights from one codebase's file to another's",
    "make-shards": "turn a folder of images into TFRecord shards",
    "model-table": "print the models with their parameters and multiply-adds",
    "tpu-plan": "tell what a training step needs on a TPU, without one",
    "tpu-table": "plan every model for every kind of TPU, and write docs/tpu.md",
}

# Their modules cannot be imported without pydantic.
_TO_TRAIN = ("imagenet", "finetune")

_USAGE = """\
usage: keras-mixers COMMAND ...

MLP ("mixer") vision models for Keras 3: train, evaluate, export.

{commands}

`keras-mixers COMMAND --help` explains a command; `keras-mixers --version` prints the version."""


def main(argv=None):
    """Runs a command line as a process of its own, to its end, and exits with its status."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        width = max(map(len, COMMANDS)) + 2
        lines = [f"  {name:{width}}{about}" for name, about in COMMANDS.items()]
        print(_USAGE.format(commands="\n".join(lines)))
        sys.exit(0 if argv else 2)
    name, *rest = argv
    if name == "--version":
        import keras_mixers

        print(f"keras_mixers {keras_mixers.__version__}")
        sys.exit(0)
    if name not in COMMANDS:
        from keras_mixers.errors import did_you_mean

        print(
            f"keras-mixers: error: COMMAND must be one of {', '.join(COMMANDS)}. "
            f"Received: {name}.{did_you_mean(name, COMMANDS)}",
            file=sys.stderr,
        )
        sys.exit(2)
    if name in _TO_TRAIN:
        from keras_mixers.commands import cli

        cli.require_to_train(f"keras-mixers {name}", rest)
    module = importlib.import_module(f"keras_mixers.commands.{name.replace('-', '_')}")
    if hasattr(module, "as_process"):
        module.as_process(rest)
    else:
        sys.exit(module.main(rest))
