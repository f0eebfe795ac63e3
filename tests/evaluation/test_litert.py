import keras
import numpy as np
import pytest

from keras_mixers.evaluation.litert import LiteRTModel
from keras_mixers.export import quantization
from keras_mixers.export.exporter import export
from keras_mixers.export.tflite import TFLite
from tests import reference
from tests.models.small import build

pytestmark = pytest.mark.tensorflow


def test_integers_at_both_ends_are_real_numbers_for_the_caller(rng, tmp_path):
    """A file of int8, as other tools write it: with scales and zero points of its own."""
    model = build("mlp_mixer", classifier_activation=None)
    reference.randomize(model, rng)
    x = rng.uniform(0, 3, (40, *model.input_shape[1:])).astype("float32")  # Zero is not its middle.
    data = export(model, tmp_path / "m.tflite", TFLite()).path.read_bytes()
    batches = list(x[:, None])
    (tmp_path / "int8.tflite").write_bytes(quantization.quantize(data, "int8-full", batches))
    file = LiteRTModel(tmp_path / "int8.tflite")
    assert not file.takes_pixels
    expected = model.predict(x, verbose=0)
    differences = np.abs(file.predict(x) - expected)
    assert 0 < differences.mean() < 0.05 * np.ptp(expected, axis=0).max()


def test_files_with_several_inputs_are_refused(tmp_path):
    inputs = [keras.Input((4,), batch_size=1) for _ in "ab"]
    model = keras.Model(inputs, inputs[0] + inputs[1])
    path = str(tmp_path / "two.tflite")
    model.export(path, format="litert", verbose=False)
    with pytest.raises(ValueError, match=r"one input and one output\. It has 2 and 1"):
        LiteRTModel(path)


def test_what_is_no_file_of_a_model(tmp_path):
    (tmp_path / "text.tflite").write_text("no model")
    with pytest.raises(ValueError, match="not a valid Flatbuffer"):
        LiteRTModel(tmp_path / "text.tflite")
