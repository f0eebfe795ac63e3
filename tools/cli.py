"""What the commands share: a quiet TensorFlow, and one sentence instead of a traceback."""

import importlib.util
import os


def prepare(parser, extra, modules):
    """Ends the command with status 2 where a module is missing or Keras runs another backend.

    Args:
        parser: The command's `argparse.ArgumentParser`.
        extra: The extra of this project that installs `modules`.
        modules: Names of the modules that the command imports later.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # 2: errors only.
    for module in ("keras", "tensorflow", *modules):
        if importlib.util.find_spec(module) is None:
            parser.error(f'the module {module} is missing; mend it by: pip install -e ".[{extra}]"')
    try:
        import keras
    except Exception as error:  # Keras has errors of its own kinds for a backend it cannot load.
        parser.error(f"Keras cannot be imported; is KERAS_BACKEND right? {error}")

    backend = keras.backend.backend()
    if backend != "tensorflow":
        parser.error(
            "this command needs Keras' TensorFlow backend; set KERAS_BACKEND=tensorflow. "
            f"Received: {backend}"
        )
