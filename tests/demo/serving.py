"""A demo that runs in a thread, for the tests of the server and of the page."""

import http.client
import os
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_mixers
from keras_mixers.commands import demo
from keras_mixers.demo import serving
from keras_mixers.export.exporter import export
from keras_mixers.export.origin import Origin
from keras_mixers.export.tflite import TFLite
from keras_mixers.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from keras_mixers.training.config import TrainingConfig
from tests import reference

ANIMALS = ("cat", "dog", "an animal whose name is longer than any telephone is wide", "eel", "<b>")

# Of images that the model of colors takes scaled.
PREPROCESSING = Preprocessing(32, interpolation="bicubic", mean=IMAGENET_MEAN, std=IMAGENET_STD)


def need(what, is_there):
    """Skips a test where something is missing, but not in CI, which has everything."""
    if not is_there:
        assert not os.environ.get("CI"), f"{what} is missing"
        pytest.skip(f"needs {what}")


def parse(*arguments):
    return demo._parse([str(argument) for argument in arguments])[1]


def options(args):
    """What `description.describe` takes, of a command line."""
    return {name: getattr(args, name) for name in ("labels", "mean", "std", "top_k")}


class Serving:
    """A demo in a thread, on any free port."""

    def __init__(self, *arguments):
        args = parse(*arguments, "--port", 0)
        self.server = serving.make_server(args.model, args.host, args.port, **options(args))
        self.host, self.port = self.server.server_address
        self.url = f"http://{self.host}:{self.port}/"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def ask(self, method, path, **headers):
        """Sends the path as it is; returns the response and its bytes."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", f"{self.host}:{self.port}")
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response, body


def write_colors(path):
    """Writes a model of random weights: real scores, cubics, and images scaled as ImageNet's."""
    keras.utils.set_random_seed(1)
    model = keras_mixers.MLPMixer(
        input_shape=(32, 32, 3),
        classes=5,
        patch_size=8,
        hidden_dim=16,
        num_blocks=1,
        tokens_mlp_dim=16,
        channels_mlp_dim=16,
        classifier_activation=None,
        include_preprocessing=False,
        preprocessing=PREPROCESSING,
        name="tiny",
    )
    reference.randomize(model, np.random.default_rng(0))
    config = TrainingConfig(
        loss="sigmoid",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        interpolation="bicubic",
        image_size=32,
    )
    assert config.preprocessing == PREPROCESSING
    export(model, path, TFLite(), Origin("/home/somebody/runs/colors", config, ANIMALS))
    return path


def tflite_of(inputs, outputs, path, **options):
    """Writes a file as another tool would."""
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(inputs, outputs))
    for name, value in options.items():
        setattr(converter, name, value)
    path.write_bytes(converter.convert())
    return path
