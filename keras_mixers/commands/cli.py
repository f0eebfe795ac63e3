"""What the commands share: a quiet TensorFlow, and one sentence instead of a traceback."""

import argparse
import importlib.metadata
import os
import re

from keras_mixers import extras

TO_TRAIN = (
    *("etils", "filelock", "matplotlib", "pydantic", "tabulate", "tensorboard", "tqdm", "tyro"),
)
"""What training needs besides TensorFlow; only its own sets need tensorflow-datasets."""
OF_TRAINING_HELP = ("pydantic", "tyro")


def require(parser, modules):
    """Ends the command with status 2 where one of `modules` is missing; imports none of them.

    Args:
        parser: The command's `argparse.ArgumentParser`.
        modules: Names of the modules that the command imports later.
    """
    if sentence := extras.need("this command", modules):
        parser.error(sentence)


def require_to_train(prog, argv):
    """As `require`, before a command that trains is imported: its settings are pydantic's."""
    modules = OF_TRAINING_HELP if asks_help(argv) else ("tensorflow", *TO_TRAIN)
    require(argparse.ArgumentParser(prog=prog), modules)


def asks_help(argv):
    """Returns whether a command line asks for help, which must need no TensorFlow."""
    return any(argument in ("-h", "--help") for argument in argv)


def prepare(parser, modules, backends=("tensorflow",)):
    """As `require`, and ends the command where Keras runs a backend that is not in `backends`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # 2: errors only.
    require(parser, ("tensorflow", *modules))
    _refuse_libtpu_that_aborts(parser)
    try:
        import keras
    except Exception as error:  # Keras has errors of its own kinds for a backend it cannot load.
        parser.error(f"Keras cannot be imported; is KERAS_BACKEND right? {error}")

    backend = keras.backend.backend()
    if backend not in backends:
        parser.error(
            f"this command needs another backend of Keras; set KERAS_BACKEND={backends[0]}. "
            f"Received: {backend}"
        )


def output(flag, text, suffix):
    """Returns the path of a file to be written, or None where none is asked for.

    Call it first: what cannot be written must not be found out after the work.

    Raises:
        UsageError: It has another suffix, or its folder cannot be written to.
    """
    from keras_mixers import files
    from keras_mixers.errors import UsageError

    if text is None:
        return None
    path = files.named(flag, text)
    if path.suffix.lower() != suffix:
        raise UsageError(f"{flag} must be a {suffix} file. Received: {text}")
    if not files.is_remote(path) and not os.access(path.parent, os.W_OK):
        raise UsageError(
            f"{flag} must be in a folder that exists and can be written; make it. Received: {text}"
        )
    return path


def _refuse_libtpu_that_aborts(parser):
    """Ends the command where `import tensorflow` would end it, without a word that helps.

    tensorflow-tpu 2.20 cannot be loaded with libtpu from 0.0.32 on, which pip installs beside it.
    """
    tensorflow, libtpu = _version("tensorflow-tpu"), _version("libtpu")
    if tensorflow and libtpu and tensorflow < (2, 21) and libtpu >= (0, 0, 32):
        parser.error(
            f"tensorflow-tpu {'.'.join(map(str, tensorflow))} aborts with libtpu "
            f'{".".join(map(str, libtpu))}; fix it by: pip install "libtpu<0.0.32"'
        )


def _version(package):
    """Returns the version of an installed package as numbers, or None."""
    try:
        return tuple(int(n) for n in re.findall(r"\d+", importlib.metadata.version(package)))
    except importlib.metadata.PackageNotFoundError:
        return None
