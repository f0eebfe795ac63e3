"""What the commands share: a quiet TensorFlow, and one sentence instead of a traceback."""

import importlib.util
import os


def require(parser, extra, modules):
    """Ends the command with status 2 where one of `modules` is missing; imports none of them.

    Args:
        parser: The command's `argparse.ArgumentParser`.
        extra: The extra of this project that installs `modules`.
        modules: Names of the modules that the command imports later.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            parser.error(f'the module {module} is missing; mend it by: pip install -e ".[{extra}]"')


def prepare(parser, extra, modules, backends=("tensorflow",)):
    """As `require`, and ends the command where Keras runs a backend that is not in `backends`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # 2: errors only.
    require(parser, extra, ("keras", "tensorflow", *modules))
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
