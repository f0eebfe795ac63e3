import contextlib
import gc
import io
import json
import sys
import types

import numpy as np
import pytest


def pytest_configure(config):
    if is_controller(config):
        return
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Two devices of one CPU, for the tests of distribution; must precede the first operation.
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * 2
        )
        # A third of a short run's time goes into making its graphs faster. What the tests start as
        # processes of their own, and `.ci/commands`, have them made faster.
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
        read_little_ahead()


def read_little_ahead():
    """Has data sets prepare two chunks of images at once, not sixteen, which short runs never see.

    What comes out is the same. What the tests start as processes of their own reads as far ahead
    as it does.
    """
    from keras_mixers.data import chunks

    batches = chunks.batches
    chunks.batches = lambda *arguments: batches(*arguments[:-1], 2)


def is_controller(config):
    """Whether this is the process of pytest-xdist that runs no test and needs no Keras."""
    return bool(getattr(config.option, "tx", None)) and not hasattr(config, "workerinput")


def pytest_collection_finish():
    # What the libraries made when they were imported stays: a sixth of the time went into looking
    # through it for garbage.
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    import keras

    if keras.backend.backend() == "tensorflow":
        return
    skip = pytest.mark.skip(reason="needs Keras' TensorFlow backend")
    for item in items:
        if "tensorflow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True, scope="module")
def _less_to_look_through():
    """What is left of a module's tests will hardly be garbage later."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _fresh_keras():
    import keras
    from keras.src.utils import rng_utils

    # Without TensorFlow's own seed, on which nothing here depends: to set it empties TensorFlow's
    # caches, and to fill them again after each test took a quarter of the suite's time.
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rng_utils, "tf", types.SimpleNamespace(available=False))
        keras.utils.set_random_seed(0)
    if "keras_mixers.data.reading" in sys.modules:  # What is said once a process, each test hears.
        sys.modules["keras_mixers.data.reading"].say_once.cache_clear()
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(policy)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def undrawn(monkeypatch):
    """For tests that look at no picture of a run."""
    from tests.helpers import train_command

    train_command.draw_nothing(monkeypatch)


# Each is built once for all processes; what is in it may be read, and copied to be changed.


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Small images in three classes, for training and validation."""
    from tests.helpers import image_files, shared

    return shared.folder(tmp_path_factory, "images", image_files.write_folder)


@pytest.fixture(scope="session")
def finished(folder, tmp_path_factory):
    """A run of keras-mixers imagenet on `folder`, of 12 steps, with a checkpoint each 5."""
    from tests.helpers import shared, train_command

    def train(out):
        assert train_command.run(folder, out, "--checkpoint-steps", "5") == 0

    return shared.folder(tmp_path_factory, "run", train)


@pytest.fixture(scope="session")
def digits_command(tmp_path_factory):
    """keras-mixers digits, of a small model that knows digits fairly well then.

    A folder with its `run`, and with `said.json`: its exit status and what it printed.
    """
    from keras_mixers.commands import digits
    from tests.helpers import shared

    def train(folder):
        arguments = ["--model", "mlp_mixer", "--epochs", "8", "--out", str(folder / "run")]
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            status = digits.main(arguments)
        said = {"status": status, "printed": printed.getvalue()}
        (folder / "said.json").write_text(json.dumps(said))

    return shared.folder(tmp_path_factory, "digits", train)


@pytest.fixture(scope="session")
def digits_run(digits_command):
    """The folder of the model that keras-mixers digits trained."""
    return digits_command / "run" / "mlp_mixer"
