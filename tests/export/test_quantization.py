"""Every precision, on small models with random weights; the digits' bars are in test_export.py."""

import itertools

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from keras_mixers.evaluation.costs import multiply_adds
from keras_mixers.evaluation.litert import LiteRTModel
from keras_mixers.export import PRECISIONS, flatbuffer
from keras_mixers.export.exporter import export
from keras_mixers.export.origin import Origin
from keras_mixers.export.tflite import TFLite
from keras_mixers.preprocessing import BY_IMAGENET, TO_ZERO_ONE
from tests import reference
from tests.helpers.sampling import sampled
from tests.models.small import FAMILIES, SHORT, build

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def world():
    """A model of each family, of images from 0 to 1."""
    rng = np.random.default_rng(0)
    models = {}
    for family in FAMILIES:
        options = dict(classifier_activation=None, preprocessing=TO_ZERO_ONE)
        models[family] = build(family, **options | SHORT[family])
        reference.randomize(models[family], rng)
    return models


def write(model, tmp_path, precision, takes_pixels=False, seed=1, **options):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (40, *model.input_shape[1:]), "uint8")
    kind = TFLite(precision, takes_pixels, calibration=lambda: [images], **options)
    return export(model, tmp_path / f"{precision}.tflite", kind)


@pytest.mark.parametrize(
    ("bars", "family"),
    sampled(
        (
            ("float16", "float32", 0.003, 2),
            ("dynamic", flatbuffer.DYNAMIC, 0.03, 4),
            ("int8", "int8", 0.05, 4),
            ("int8-full", "int8", 0.1, 4),
        ),
        FAMILIES,
    ),
)
def test_of_each_family(bars, family, world, tmp_path):
    precision, kind, most, size = bars
    model = world[family]
    result = write(model, tmp_path, precision)
    compared = result.comparison
    assert 1e-7 < compared.mean_difference / compared.spread < most
    data = result.path.read_bytes()
    counted = sum(macs for _, macs in flatbuffer.operators_by_precision(data).values())
    assert counted == multiply_adds(model)
    share = result.operators[kind][1]
    depthwise = precision == "dynamic" and family == "smlpnet"
    assert share > (0.7 if depthwise else 0.95 if family == "smlpnet" else 0.98)
    # Weights; a few numbers per weight tensor and operator come on top.
    read = flatbuffer.read(data)
    (graph,) = read.subgraphs
    weights = [read.buffers[t.buffer].data for t in graph.tensors]
    assert max(len(w) for w in weights if w is not None) < 4 * largest(model) / size * 1.2
    if precision == "int8-full":
        floats = [t for t in graph.tensors if t.type == flatbuffer.schema.TensorType.FLOAT32]
        assert floats == []
        assert set(result.operators) <= {"int8", "conversion"}
    else:
        assert result.partitions == 1
        assert LiteRTModel(result.path).fully_delegated


def largest(model):
    return max(np.prod(weight.shape) for weight in model.trainable_weights)


@pytest.mark.parametrize("brightest", [25.5, pytest.param(255, marks=pytest.mark.extended)])
def test_ranges_are_those_of_the_images(brightest, world, tmp_path):
    model = world["mlp_mixer"]
    rng = np.random.default_rng(1)
    images = rng.uniform(0, brightest, (8, *model.input_shape[1:])).astype("float32")
    path = tmp_path / "m.tflite"
    export(model, path, TFLite("int8", calibration=lambda: [images]))
    tensors = Interpreter(str(path)).get_tensor_details()
    (scale,) = {
        t["quantization"][0]
        for t in tensors
        if t["dtype"] == np.int8 and tuple(t["shape"]) == (1, *model.input_shape[1:])
    }
    assert scale == pytest.approx(images.max() / 255 / 255, rel=0.01)


def test_pixels_as_real_numbers(tmp_path):
    """Of a model that scales them itself: their range is that of a byte, whatever images have."""
    options = dict(classifier_activation=None) | SHORT["mlp_mixer"]
    model = build("mlp_mixer", include_preprocessing=True, **options)
    reference.randomize(model, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    dark = rng.integers(0, 100, (8, *model.input_shape[1:]), "uint8")
    kind = TFLite("int8", calibration=lambda: [dark])
    result = export(model, tmp_path / "m.tflite", kind)
    assert result.agrees
    tensors = Interpreter(str(result.path)).get_tensor_details()
    (scale,) = {
        t["quantization"][0]
        for t in tensors
        if t["dtype"] == np.int8 and tuple(t["shape"]) == (1, *model.input_shape[1:])
    }
    assert scale == pytest.approx(1, rel=1e-6)
    file = kind.load(result.path)
    assert (file.takes_pixels, file.includes_preprocessing) == (False, True)


@pytest.mark.parametrize(
    ("precision", "model"), sampled(PRECISIONS, tuple(itertools.product((True, False), FAMILIES)))
)
def test_pixels_as_input(precision, model, tmp_path):
    included, family = model
    options = dict(classifier_activation=None, preprocessing=BY_IMAGENET)
    model = build(family, include_preprocessing=included, **options | SHORT[family])
    reference.randomize(model, np.random.default_rng(0))
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (40, *model.input_shape[1:]), "uint8")
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    scaled = ((pixels / 255 - mean) / deviation).astype("float32")
    kind = TFLite(precision, True, calibration=lambda: [pixels])
    result = export(model, tmp_path / "m.tflite", kind)
    assert result.agrees
    file = LiteRTModel(result.path)
    assert file.takes_pixels
    (entry,) = Interpreter(str(result.path)).get_input_details()
    assert (entry["dtype"], entry["quantization"]) == (np.uint8, (1.0, 0))
    given = pixels.astype("float32") if included else scaled
    expected = keras.ops.convert_to_numpy(model(given))
    differences = np.abs(file.predict(pixels) - expected)
    most = {"float32": 1e-5, "float16": 0.003, "dynamic": 0.03}.get(precision, 0.1)
    assert differences.mean() < most * np.ptp(expected, axis=0).max()
    outputs = {"int8-full": np.uint8}.get(precision, np.float32)
    assert Interpreter(str(result.path)).get_output_details()[0]["dtype"] == outputs
    # Phones call a file by its signature, which must lead to the pixels.
    runner = Interpreter(str(result.path)).get_signature_runner()
    ((name, entry),) = runner.get_input_details().items()
    assert entry["dtype"] == np.uint8
    (scores,) = runner(**{name: pixels[:1]}).values()
    assert scores.dtype == outputs
    if precision == "float32":
        np.testing.assert_allclose(scores, file.predict(pixels[:1]), atol=1e-6)
    if precision != "int8-full":
        assert result.partitions == 1


def test_batches_and_scores_of_int8_which_are_not_rounded_to_bytes(world, tmp_path):
    """256 steps would be seen in the outputs of a hundred images."""
    result = write(world["mlp_mixer"], tmp_path, "int8", batch_size=4)
    assert result.partitions == 1
    assert LiteRTModel(result.path).batch_size == 4
    rng = np.random.default_rng(3)
    x = rng.uniform(0, 1, (100, *world["mlp_mixer"].input_shape[1:])).astype("float32")
    assert len(np.unique(LiteRTModel(result.path).predict(x))) > 400


def test_every_pixel_and_every_score_has_its_number(world, tmp_path):
    """Also those that no image of the calibration has: a byte is a byte."""
    model = world["mlp_mixer"]
    dark = np.full((4, *model.input_shape[1:]), 12, "uint8")
    path = tmp_path / "m.tflite"
    kind = TFLite("int8-full", calibration=lambda: [dark])
    kind.write(model, path, Origin().of(model))
    tensors = Interpreter(str(path)).get_tensor_details()
    inputs = {t["quantization"] for t in tensors if tuple(t["shape"]) == (1, 8, 12, 3)}
    assert inputs == {(1.0, 0), (1.0, -128)}
    # Scores in uint8 are the numbers that they were in int8.
    (end,) = Interpreter(str(path)).get_output_details()
    (before,) = {
        t["quantization"]
        for t in tensors
        if t["dtype"] == np.int8 and tuple(t["shape"]) == tuple(end["shape"])
    }
    assert end["quantization"] == (before[0], before[1] + 128)
