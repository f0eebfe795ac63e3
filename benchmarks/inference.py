"""Measures inference on a CPU, batch 1: our TFLite files beside ONNX Runtime and PyTorch.

Ours are written by tools/export.py's own code in every precision and run by LiteRT. The peers run
timm's model of the same size, where they are installed (pip install torch torchvision timm onnx
onnxscript onnxruntime): PyTorch eager, ONNX Runtime in float32 and with its dynamic int8. All have
the same number of threads, random weights, and an image of zeros (int8 finds its ranges on random
ones: this is about speed only). Each lives in a process of its own, which sleeps while
others work. They take turns, and who begins changes every round.

The floor is the time of the model's multiply-adds at this machine's rate of float32 matrix
products, 2,048 x 2,048 x 2,048, in the same run: the better one of NumPy's and LiteRT's own. Ratios
are medians of the rounds, and their range. Exit status: 0; 1 when a process was killed; 2 when the
arguments cannot be used.

Examples:
  python benchmarks/inference.py
  python benchmarks/inference.py --models MLPMixerS32 --rounds 3
"""

import argparse
import importlib.util
import os
import pathlib
import statistics
import sys
import tempfile
from concurrent.futures.process import BrokenProcessPool

if __package__ is None:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

from benchmarks.timing import Process, alternate, machine, prepare, ratio
from keras_mixers.commands import cli
from keras_mixers.export import PRECISIONS

PEERS = {"MLPMixerB16": "mixer_b16_224"}
SIDE = 2048  # Of the matrices.
WARM_UP = 5
_ONNX = "ONNX Runtime"


def write(name, folder):
    """Writes a variant in every precision; returns its multiply-adds. For a process of its own."""
    import numpy as np

    import keras_mixers
    from keras_mixers.export import flatbuffer
    from keras_mixers.export.origin import Origin
    from keras_mixers.export.tflite import TFLite

    model = getattr(keras_mixers, name)(classifier_activation=None)
    images = np.random.default_rng(0).uniform(0, 255, (4, *model.input_shape[1:]))
    for precision in PRECISIONS:
        kind = TFLite(precision, calibration=lambda: [images.astype("float32")])
        kind.write(model, folder / f"{precision}.tflite", Origin().of(model))
    data = (folder / "float32.tflite").read_bytes()
    return sum(macs for _, macs in flatbuffer.operators_by_precision(data).values())


def write_product(path):
    """Writes a TFLite file of one matrix product. For a process of its own."""
    import tensorflow as tf

    matrix = tf.random.normal((SIDE, SIDE), seed=0)
    product = tf.function(
        lambda x: tf.matmul(x, matrix), input_signature=[tf.TensorSpec((SIDE, SIDE), tf.float32)]
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [product.get_concrete_function()], tf.Module()
    )
    path.write_bytes(converter.convert())


def write_onnx(name, path):
    """Writes timm's model as ONNX, in float32 and with dynamic int8. For a process of its own."""
    import timm
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = timm.create_model(PEERS[name]).eval()
    torch.onnx.export(
        model, (torch.zeros(1, 3, 224, 224),), path, dynamo=True, external_data=False, verbose=False
    )
    quantize_dynamic(path, path.with_suffix(".int8.onnx"), weight_type=QuantType.QInt8)


def litert(path, threads):
    """Returns a function that runs a TFLite file once, and facts about it."""
    from keras_mixers.evaluation.litert import LiteRTModel

    model = LiteRTModel(path, threads)
    return lambda: model.seconds(1, warm_up=0), {"partitions": model.num_partitions}


def numpy_product(threads):
    """Returns a function that multiplies two matrices, and no facts."""
    import numpy as np

    first, second = np.random.default_rng(0).random((2, SIDE, SIDE), "float32")
    return lambda: first @ second, {}


def onnx(path, threads):
    """Returns a function that runs an ONNX file once, and no facts."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    image = {session.get_inputs()[0].name: np.zeros((1, 3, 224, 224), "float32")}
    return lambda: session.run(None, image), {}


def torch_eager(name, threads):
    """Returns a function that runs timm's model once, and no facts."""
    import timm
    import torch

    torch.set_num_threads(threads)
    model, image = timm.create_model(PEERS[name]).eval(), torch.zeros(1, 3, 224, 224)

    def step():
        with torch.inference_mode():
            model(image)

    return step, {}


def peers(name, folder):
    """Returns the contenders of other libraries, and what to tell where some are missing."""
    if name not in PEERS:
        return {}, None
    found, missing = {}, []
    for module in ("torch", "timm", "onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(module) is None:
            missing.append(module)
    if missing:
        return {}, f"No peers: {', '.join(missing)} missing; see --help."
    with Process() as process:
        try:
            process.call(write_onnx, name, folder / "peer.onnx")
        except (ImportError, RuntimeError) as error:  # Such as: a torchvision that is not torch's.
            return {}, f"No peers: {str(error).splitlines()[0]}"
    found[f"{_ONNX}, float32"] = (onnx, folder / "peer.onnx")
    found[f"{_ONNX}, dynamic int8"] = (onnx, folder / "peer.int8.onnx")
    found["PyTorch eager"] = (torch_eager, name)
    return found, None


def measure(name, folder, product, args):
    """Lets all contenders for one model take turns.

    Returns:
        The model's multiply-adds, the times and the facts of each contender, and a note or None.
    """
    with Process() as process:
        macs = process.call(write, name, folder)
    others, note = peers(name, folder)
    contenders = {"product, NumPy": (numpy_product,), "product, LiteRT": (litert, product)}
    contenders |= {kind: (litert, folder / f"{kind}.tflite") for kind in PRECISIONS}
    contenders |= others
    processes = [Process() for _ in contenders]
    try:
        facts = [
            process.call(prepare, *side, args.threads)
            for process, side in zip(processes, contenders.values(), strict=True)
        ]
        times = alternate(processes, args.steps, args.rounds, WARM_UP)
    finally:
        for process in processes:
            process.shutdown()
    by_name = (dict(zip(contenders, each, strict=True)) for each in (times, facts))
    return macs, *by_name, note


def rows(name, macs, times, facts):
    """Returns the lines of a model's table, from the times of all contenders."""
    products = [times["product, NumPy"], times["product, LiteRT"]]
    flops = {kind: 2 * SIDE**3 if kind.startswith("product") else 2 * macs for kind in times}
    floor = [
        [min(statistics.median(one) for one in turn) * macs / SIDE**3]
        for turn in zip(*products, strict=True)
    ]
    lines = []
    for kind, mine in times.items():
        seconds = [second for one in mine for second in one]
        median = statistics.median(seconds)
        peer = {
            "float32": f"{_ONNX}, float32",
            "dynamic": f"{_ONNX}, dynamic int8",
            "int8": f"{_ONNX}, dynamic int8",
        }.get(kind)
        lines.append(
            {
                "model": name,
                "by": kind if kind.startswith(("product", _ONNX, "PyTorch")) else f"ours, {kind}",
                "ms": f"{1e3 * median:.1f}",
                "min - max": f"{1e3 * min(seconds):.1f} - {1e3 * max(seconds):.1f}",
                "GFLOP/s": f"{flops[kind] / median / 1e9:.0f}",
                "partitions": facts[kind].get("partitions", ""),
                "of the floor": "" if kind.startswith("product") else ratio(mine, floor),
                "of our float32": ratio(mine, times["float32"]) if kind in PRECISIONS[1:] else "",
                "of ONNX Runtime": ratio(mine, times[peer]) if peer in times else "",
            }
        )
    return lines


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="benchmarks/inference.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    models = ["MLPMixerB16", "S2MLPDeep", "SMLPNetB"]
    shown = f"default: {' '.join(models)}"
    parser.add_argument("--models", nargs="+", default=models, help=shown, metavar="NAME")
    numbers = {
        "--threads": (2, "of each contender"),
        "--steps": (10, "of a turn"),
        "--rounds": (9, "of turns"),
    }
    for flag, (default, text) in numbers.items():
        text = f"{text} (default: {default})"
        parser.add_argument(flag, type=int, default=default, help=text, metavar="N")
    args = parser.parse_args(argv)
    for flag in numbers:
        value = getattr(args, flag[2:])
        if value < 1:
            parser.error(f"argument {flag}: must be at least 1. Received: {value}")
    cli.prepare(parser, ("ai_edge_litert", "ai_edge_quantizer", "tabulate"))
    import keras_mixers

    known = [v.__name__ for variants in keras_mixers.VARIANTS.values() for v in variants]
    for name in args.models:
        if name not in known:
            parser.error(f"argument --models: must be of {', '.join(known)}. Received: {name}")
    # NumPy's own threads; read when a process imports it.
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(args.threads)
    return parser, args


def run(args):
    """Prints what the machine is, a table for each model, and notes."""
    from tabulate import tabulate

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{machine(cores)}; {args.threads} threads, batch 1, {args.rounds} rounds")
    with tempfile.TemporaryDirectory() as scratch:
        product = pathlib.Path(scratch, "product.tflite")
        with Process() as process:
            process.call(write_product, product)
        for name in args.models:
            folder = pathlib.Path(scratch, name)
            folder.mkdir()
            print(f"{name}: {args.rounds} rounds", file=sys.stderr)
            *found, note = measure(name, folder, product, args)
            print("\n" + tabulate(rows(name, *found), "keys", "github", disable_numparse=True))
            if note:
                print(f"\n{note}")


def main(argv=None):
    parser, args = _parse(argv)
    try:
        run(args)
    except BrokenProcessPool:
        parser.exit(1, f"{parser.prog}: error: a process was killed; is there enough memory?\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
