"""Images that a model would scale a second time get one line."""

import keras
import numpy as np
import pytest

import keras_mixers
from keras_mixers.preprocessing import scaled_already
from tests.models.small import build

LINE = "the images look scaled already"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-1, 0.3, 1], True),
        ([0, 0.5, 1], True),
        ([-2.1, 2.6], True),
        ([0, 1], False),
        ([0, 0], False),
        ([0, 128.5, 255], False),
        ([-100, 100], False),
        ([], False),
    ],
)
def test_what_looks_scaled(values, expected):
    assert scaled_already.looks_scaled(np.array(values, "float32")) is expected
    assert not scaled_already.looks_scaled(np.array(values, "int16"))


@pytest.fixture
def model():
    model = build("mlp_mixer", True, num_blocks=1)
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


@pytest.fixture
def scaled(rng):
    return rng.uniform(-1, 1, (2, 8, 12, 3)).astype("float32")


def batches(images):
    yield images
    yield images


class Sequence(keras.utils.PyDataset):
    """Two batches of the same images and labels."""

    def __init__(self, *batch):
        super().__init__()
        self._batch, self.asked, self.ended = batch, [], 0

    def __len__(self):
        return 2

    def __getitem__(self, index):
        self.asked.append(index)
        return self._batch

    def on_epoch_end(self):
        self.ended += 1


USES = {
    "call": lambda model, images: model(images),
    "call of a tensor": lambda model, images: model(keras.ops.convert_to_tensor(images)),
    "predict": lambda model, images: model.predict(images, verbose=0),
    "predict_on_batch": lambda model, images: model.predict_on_batch(images),
    "dict": lambda model, images: model.predict({"images": images}, verbose=0),
    "list": lambda model, images: model.predict([images], verbose=0),
    "validation": lambda model, images: model.fit(
        np.zeros((2, 8, 12, 3)), np.zeros(2), validation_data=(images, np.zeros(2)), verbose=0
    ),
    "PyDataset": lambda model, images: model.evaluate(Sequence(images, np.zeros(2)), verbose=0),
    "validation of a PyDataset": lambda model, images: model.fit(
        np.zeros((2, 8, 12, 3)),
        np.zeros(2),
        validation_data=Sequence({"images": images}, np.zeros(2)),
        verbose=0,
    ),
    "generator": lambda model, images: model.predict(batches((images,)), steps=2, verbose=0),
    "fit": lambda model, images: model.fit(images, np.zeros(2), verbose=0),
    "evaluate": lambda model, images: model.evaluate(images, np.zeros(2), verbose=0),
}


# What Keras says of one input that stands in a dict or a list.
@pytest.mark.filterwarnings("ignore:The structure of `inputs` doesn't match")
@pytest.mark.parametrize("use", USES)
def test_scaled_images_get_one_line(use, model, scaled, caplog):
    USES[use](model, ((scaled + 1) * 127.5).astype("float32"))
    assert LINE not in caplog.text
    for _ in range(2):
        USES[use](model, scaled)
    assert caplog.text.count(LINE) == 1
    assert "model.preprocess" in caplog.text
    assert "include_preprocessing=False" in caplog.text


def test_a_py_dataset_is_used_as_without_a_look(model, scaled):
    data, epochs = Sequence(scaled, np.zeros(2)), 3
    model.fit(data, epochs=epochs, shuffle=False, verbose=0)
    looked_at = data.asked, data.ended
    data = Sequence(scaled, np.zeros(2))
    keras.Model.fit(model, data, epochs=epochs, shuffle=False, verbose=0)
    assert looked_at == (data.asked, data.ended)
    apart = Sequence(scaled)
    apart.use_multiprocessing = True
    assert scaled_already.with_a_look(apart, pytest.fail) is apart


@pytest.mark.tensorflow
@pytest.mark.parametrize("with_labels", [False, True])
def test_scaled_images_of_a_dataset(with_labels, model, scaled, caplog):
    import tensorflow as tf

    taken = []

    def once():
        taken.append(1)
        yield from batches((scaled, np.zeros(2, "int32")) if with_labels else scaled)

    spec = tf.TensorSpec(scaled.shape)
    spec = (spec, tf.TensorSpec((2,), tf.int32)) if with_labels else spec
    data = tf.data.Dataset.from_generator(once, output_signature=spec)
    data = data.apply(tf.data.experimental.assert_cardinality(2))
    assert model.predict(data, verbose=0).shape == (4, 5)
    assert taken == [1]
    assert caplog.text.count(LINE) == 1


def test_a_model_of_scaled_images_says_nothing(scaled, caplog):
    build("mlp_mixer", num_blocks=1).predict(scaled, verbose=0)
    assert LINE not in caplog.text


SIZES = dict(patch_size=4, hidden_dim=4, num_blocks=1, tokens_mlp_dim=4, channels_mlp_dim=4)


@pytest.mark.parametrize(
    ("rescales", "includes", "said"), [(True, True, 1), (True, False, 0), (False, True, 0)]
)
def test_a_tensor_of_other_layers_gets_a_line(rescales, includes, said, caplog):
    tensor = keras.Input((8, 8, 3))
    tensor = keras.layers.Rescaling(1 / 127.5, -1)(tensor) if rescales else tensor
    keras_mixers.MLPMixer(input_tensor=tensor, include_preprocessing=includes, **SIZES)
    assert caplog.text.count("input_tensor: the model scales what it gives") == said


@pytest.mark.tensorflow
def test_a_dataset_with_nothing_for_the_weights_and_a_model_that_does_not_scale():
    import tensorflow as tf

    images = np.zeros((2, 8, 12, 3), "float32")
    data = tf.data.Dataset.from_tensors((images, np.zeros(2)))
    without = data.map(lambda x, y: (x, y, None))
    assert scaled_already.with_a_look(without, pytest.fail) is without
    model = build("mlp_mixer", False, num_blocks=1)
    assert model._looked_at(data) is data
    assert scaled_already.with_a_look("anything", pytest.fail) == "anything"
