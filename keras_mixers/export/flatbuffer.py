"""What is inside a TFLite file, and its ends changed from real numbers to bytes."""

import collections
import math

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

_OPERATORS = schema.BuiltinOperator
_CONVERSIONS = (_OPERATORS.QUANTIZE, _OPERATORS.DEQUANTIZE)
_FLOAT32, _INT8, _UINT8 = (
    getattr(schema.TensorType, kind) for kind in ("FLOAT32", "INT8", "UINT8")
)
_KINDS = {
    number: name.lower() for name, number in vars(schema.TensorType).items() if name.isupper()
}
DYNAMIC = "8-bit weights"


def read(data):
    """Returns the file's `ModelT`, an object that can be changed and written again."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    for buffer in model.buffers:
        if buffer.data is not None:  # Bytes would be written one by one.
            buffer.data = np.frombuffer(bytes(buffer.data), "uint8")
    return model


def write(model):
    """Returns the bytes of a file."""
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def last_product(data):
    """Returns the name of the output of the last dense layer: the classifier's."""
    model = read(data)
    graph = model.subgraphs[0]
    dense = [op for op in graph.operators if _code(model, op) == _OPERATORS.FULLY_CONNECTED]
    return graph.tensors[dense[-1].outputs[0]].name.decode() if dense else "no dense layer"


def last_operator(data):
    """Returns the name of the operator that the output of a file comes from, such as "softmax".

    Conversions from one kind of number to another are looked through.
    """
    model = read(data)
    graph = model.subgraphs[0]
    wanted, code = graph.outputs[0], None
    for operator in reversed(graph.operators):
        if wanted in operator.outputs:
            wanted, code = operator.inputs[0], _code(model, operator)
            if code not in _CONVERSIONS:
                break
    codes = {number: name.lower() for name, number in vars(_OPERATORS).items() if name.isupper()}
    return codes.get(code)


def _code(model, operator):
    code = model.operatorCodes[operator.opcodeIndex]
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def operators_by_precision(data):
    """Returns by kind of arithmetic how many operators there are, and their multiply-adds.

    A dict from "float32", "int8", "8-bit weights" (real numbers, rounded when run) and so on to
    `(operators, multiply-adds)`; what only converts from one kind to another is a "conversion".
    """
    model = read(data)
    found = collections.defaultdict(lambda: (0, 0))
    for graph in model.subgraphs:  # One, and one more for each loop's body.
        for operator in graph.operators:
            kind = _arithmetic(model, graph, operator)
            count, macs = found[kind]
            found[kind] = count + 1, macs + _multiply_adds(model, graph, operator)
    return dict(found)


def _arithmetic(model, graph, operator):
    if _code(model, operator) in _CONVERSIONS:
        return "conversion"
    tensors = [graph.tensors[i] for i in (*operator.inputs, *operator.outputs) if i >= 0]
    kinds = {_KINDS[tensor.type] for tensor in tensors} - {"int32", "int64", "bool"}
    if kinds == {"float32", "int8"}:
        return DYNAMIC
    return " and ".join(sorted(kinds)) or "int32"


def _multiply_adds(model, graph, operator):
    code = _code(model, operator)
    products = (_OPERATORS.FULLY_CONNECTED, _OPERATORS.CONV_2D, _OPERATORS.DEPTHWISE_CONV_2D)
    if code not in (*products, _OPERATORS.BATCH_MATMUL):
        return 0
    first, second = (graph.tensors[i].shape for i in operator.inputs[:2])
    outputs = math.prod(graph.tensors[operator.outputs[0]].shape)
    if code == _OPERATORS.BATCH_MATMUL:
        transposed = operator.builtinOptions and operator.builtinOptions.adjX
        return outputs * int(first[-2 if transposed else -1])
    if code == _OPERATORS.DEPTHWISE_CONV_2D:
        return outputs * math.prod(second[1:3])
    return outputs * math.prod(second[1:])


def with_uint8_ends(data):
    """Returns the file with uint8 pixels as its input, and, of an 8-bit output, uint8 scores.

    Real numbers are the pixels themselves: the file must take pixels from 0 to 255.
    """
    model = read(data)
    graph = model.subgraphs[0]
    (entry,), (end,) = graph.inputs, graph.outputs
    pixels = _add_tensor(graph, entry, b"pixels", scale=1.0, zero_point=0)
    first = _OPERATORS.DEQUANTIZE if graph.tensors[entry].type == _FLOAT32 else _OPERATORS.QUANTIZE
    graph.operators.insert(0, _operator(model, first, pixels, entry))
    graph.inputs = np.array([pixels], "int32")
    renamed = {entry: pixels}
    if graph.tensors[end].type == _INT8:
        old = graph.tensors[end].quantization
        zero_point = int(old.zeroPoint[0]) + 128
        scores = _add_tensor(graph, end, b"scores", float(old.scale[0]), zero_point)
        graph.operators.append(_operator(model, _OPERATORS.QUANTIZE, end, scores))
        graph.outputs = np.array([scores], "int32")
        renamed[end] = scores
    for signature in model.signatureDefs or ():
        for tensor in (*signature.inputs, *signature.outputs):
            tensor.tensorIndex = renamed.get(tensor.tensorIndex, tensor.tensorIndex)
    return write(model)


def _add_tensor(graph, like, name, scale, zero_point):
    """A uint8 tensor of the shape of another one; returns its index."""
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.buffer = name, _UINT8, 0
    tensor.shape = graph.tensors[like].shape
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero_point]
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _operator(model, code, entry, end):
    operator = schema.OperatorT()
    operator.opcodeIndex = _code_index(model, code)
    operator.inputs, operator.outputs = np.array([entry], "int32"), np.array([end], "int32")
    return operator


def _code_index(model, code):
    for index, known in enumerate(model.operatorCodes):
        if max(known.builtinCode, known.deprecatedBuiltinCode) == code:
            return index
    new = schema.OperatorCodeT()
    new.builtinCode = new.deprecatedBuiltinCode = code
    # Bytes to bytes of another zero: an operator since its second version.
    new.version = 2
    model.operatorCodes.append(new)
    return len(model.operatorCodes) - 1
