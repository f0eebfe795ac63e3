"""From a float32 TFLite file to one of another precision, by ai-edge-quantizer."""

import contextlib
import io
import re
import warnings

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import calibrator, quantizer, recipe, recipe_manager
from ai_edge_quantizer.recipe import AlgorithmName
from ai_edge_quantizer.recipe import TFLOperationName as Operator
from ai_edge_quantizer.utils import qsv_utils

from keras_mixers.export import CALIBRATED, flatbuffer

# XNNPACK has no dynamic form of depthwise convolutions.
_DYNAMIC = (Operator.FULLY_CONNECTED, Operator.CONV_2D)
# With what only moves numbers between them: a quarter of the bytes. Not slices and concatenations,
# each of which would get a range of its own, and be converted to the next one's.
_STATIC = (*_DYNAMIC, Operator.DEPTHWISE_CONV_2D, Operator.TRANSPOSE, Operator.RESHAPE)


def quantize(data, precision, calibration=(), pixels=False):
    """Returns the bytes of a TFLite file in another precision.

    Args:
        data: Bytes of a float32 TFLite file with one signature and one input.
        precision: Of `PRECISIONS`.
        calibration: For those in `CALIBRATED`: batches of inputs, as the file takes them, whose
            smallest and largest values become the ranges of the 8-bit numbers.
        pixels: Whether the inputs are pixels from 0 to 255.
    """
    if precision == "float32":
        return data
    rules = _rules(data, precision)
    ranges = _ranges(data, rules, calibration, pixels) if precision in CALIBRATED else None
    work = quantizer.Quantizer(data, rules.get_quantization_recipe())
    with _silence():
        return bytes(work.quantize(ranges, enable_progress_bar=False).quantized_model)


@contextlib.contextmanager
def _silence():
    """The quantizer has progress bars for every image, and prints how much it has saved."""
    nowhere = io.StringIO()
    with (
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
        warnings.catch_warnings(action="ignore", category=UserWarning),
        np.errstate(over="ignore"),  # What float16 cannot hold is found by the comparison.
    ):
        yield


def _rules(data, precision):
    rules = recipe_manager.RecipeManager()
    if precision == "float16":
        rules.add_weight_only_config(
            ".*", Operator.ALL_SUPPORTED, num_bits=16, algorithm_key=AlgorithmName.FLOAT_CASTING
        )
    elif precision == "int8-full":
        rules.load_quantization_recipe(recipe.static_wi8_ai8())
    elif precision == "int8":
        for operator in _STATIC:
            rules.add_static_config(".*", operator, activation_num_bits=8, weight_num_bits=8)
        # Scores are compared with each other: to round them to 8 bits costs, and gains nothing.
        head = re.escape(flatbuffer.last_product(data))
        rules.add_dynamic_config(head, Operator.FULLY_CONNECTED, num_bits=8)
    else:
        for operator in _DYNAMIC:
            rules.add_dynamic_config(".*", operator, num_bits=8)
    return rules


def _ranges(data, rules, calibration, pixels):
    """Smallest and largest value of every tensor, over all images of the calibration."""
    interpreter = Interpreter(model_content=data)
    ((signature, ends),) = interpreter.get_signature_list().items()
    (entry,) = ends["inputs"]
    # Not the quantizer's own average over images, which cuts off the largest of the values.
    with _silence():
        finder = calibrator.Calibrator(data, qsv_update_func=qsv_utils.min_max_update)
    for batch in calibration:
        with _silence():
            finder.calibrate({signature: [{entry: batch}]}, rules)
    ranges = finder.get_model_qsvs()
    name = interpreter.get_input_details()[0]["name"]
    if pixels and name in ranges:  # Not where what takes the pixels stays in float32.
        low, high = (np.full_like(ranges[name]["min"], value) for value in (0, 255))
        ranges[name] = {**ranges[name], "min": low, "max": high}
    return ranges
