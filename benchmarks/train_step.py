"""Measures a full training step, and that of MLP-Mixer-B/16 beside timm's on PyTorch.

A step: forward, backward, clipping to a global norm, AdamW with decay of the kernels, and the loss
fetched, so that nothing is left to do. Ours is taken as recipes/imagenet.py takes it. The peer has
the same images (random, with soft labels, in the host's memory), settings, precision and number
of threads, and PyTorch's fused AdamW; neither is compiled by XLA or torch.compile. Each lives in a
process of its own, which sleeps while the other one works. They take turns, and who begins changes
every round. On JAX (KERAS_BACKEND=jax) our step is always compiled, and takes the threads it likes.

GFLOP/s counts 6 operations per image and multiply-add (MAC): 2 forward, 4 backward.
"ours / this" is our time by the peer's: median of the rounds, and their range; below 1, ours is
faster. Exit status: 0; 1 when a process was killed; 2 when the arguments cannot be used.

Examples:
  python benchmarks/train_step.py
  python benchmarks/train_step.py --models MLPMixerB16 --batch-size 256 --steps 20
"""

import argparse
import functools
import importlib.util
import os
import pathlib
import statistics
import sys
from concurrent.futures.process import BrokenProcessPool

if __package__ is None:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import keras_mixers.training  # noqa: F401  (sets what TensorFlow reads when it is imported)
from benchmarks.timing import Process, alternate, machine, prepare, ratio
from keras_mixers.commands import cli

CLASSES = 1000
PEERS = {"MLPMixerB16": "mixer_b16_224"}
WARM_UP = 6  # Steps that nobody times: PyTorch's memory on CPUs takes five to settle.

# Published dense bfloat16 TFLOP/s (float16 of the T4), by the name that the driver gives the card:
# https://www.nvidia.com/en-us/data-center/ h100, h200, a100, l4 and tesla-t4 (half of what is
# given "with sparsity"); "NVIDIA Ada GPU Architecture", appendix A, of the RTX 4090.
PEAKS = {
    "NVIDIA H100 80GB HBM3": 989,
    "NVIDIA H200": 989,
    "NVIDIA A100-SXM4-40GB": 312,
    "NVIDIA A100-SXM4-80GB": 312,
    "NVIDIA A100-PCIE-40GB": 312,
    "NVIDIA A100 80GB PCIe": 312,
    "NVIDIA L4": 121,
    "Tesla T4": 65,
    "NVIDIA GeForce RTX 4090": 165,
}


def ours(config, cores):
    """Returns a function that takes a step with our engine, and facts about what it runs on."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX: leave the peer some.
    import keras
    import tensorflow as tf

    from keras_mixers.training import distribution
    from keras_mixers.training.model import build

    tf.config.threading.set_intra_op_parallelism_threads(cores)
    where = distribution.connect(config)
    engine = where.make_engine(config, lambda: build(config, CLASSES), 1000)

    def data(shard):
        size = config.batch_size // shard.parts
        part = tuple(array[:size] for array in _images(config))
        return tf.data.Dataset.from_tensors(part).repeat()

    batch = next(iter(engine.batches(data)))
    facts = {
        "by": "keras_mixers",
        "where": where.about,
        "devices": engine.replicas,
        "card": _card(),
        "precision": keras.config.dtype_policy().name,
        "versions": _versions("tensorflow", "keras", keras.backend.backend()),
    }
    return lambda: float(engine.train_step([batch])["loss"]), facts


def _card():
    """Returns the name of this process's first accelerator, or None."""
    import keras
    import tensorflow as tf

    if keras.backend.backend() == "jax":
        import jax

        device = jax.devices()[0]
        return None if device.platform == "cpu" else device.device_kind
    gpus = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(gpus[0])["device_name"] if gpus else None


def adamw_settings(config):
    """Returns the arguments of PyTorch's AdamW that are our optimizer's settings."""
    return {
        "lr": config.learning_rate,
        "weight_decay": config.weight_decay,
        "betas": (config.beta_1, config.beta_2),
        "eps": config.epsilon,
    }


def peer(config, cores, card, precision):
    """Returns a function that takes a step with a model of PyTorch, and facts about it."""
    import torch

    from keras_mixers.errors import UsageError

    device = "cuda" if card else "cpu"
    if card and not torch.cuda.is_available():
        raise UsageError(f"this torch ({torch.__version__}) cannot use the {card}.")
    torch.set_num_threads(cores)
    torch.set_float32_matmul_precision("high")  # Of float32 on GPUs: as TensorFlow and JAX do.
    model, facts = _peer_model(config)
    model.to(device).train()
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim > 1]},
            {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ],
        **adamw_settings(config),
        fused=True,  # PyTorch's fastest.
    )
    images, labels = map(torch.from_numpy, _images(config))
    images = (images / 127.5 - 1).permute(0, 3, 1, 2).contiguous()  # Ours scales its own.
    if card:
        images, labels = images.pin_memory(), labels.pin_memory()

    def step():
        batch = [tensor.to(device, non_blocking=True) for tensor in (images, labels)]
        with torch.autocast(device, torch.bfloat16, enabled=precision == "mixed_bfloat16"):
            loss = torch.nn.functional.cross_entropy(model(batch[0]), batch[1])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        return loss.item()

    return step, facts


def _peer_model(config):
    import torch

    try:
        import timm
    except (ImportError, RuntimeError) as error:  # Such as: torchvision missing, or not torch's.
        reason = f"timm cannot be imported ({error}): the peer is this script's own model."
        model = plain_mixer(config.image_size, config.drop_path_rate)
        return model, {"by": "plain PyTorch", "versions": _versions("torch"), "note": reason}
    model = timm.create_model(
        PEERS[config.model],
        img_size=config.image_size,
        num_classes=CLASSES,
        drop_path_rate=config.drop_path_rate,
        act_layer=functools.partial(torch.nn.GELU, approximate="tanh"),
    )
    return model, {"by": f"timm, {PEERS[config.model]}", "versions": _versions("torch", "timm")}


def plain_mixer(size, drop_path_rate):
    """Returns MLP-Mixer-B/16 in PyTorch, from its paper: https://arxiv.org/abs/2105.01601."""
    from torch import nn

    width, tokens, keep = 768, (size // 16) ** 2, 1 - drop_path_rate

    def mlp(inputs, hidden):
        gelu = nn.GELU(approximate="tanh")
        return nn.Sequential(nn.Linear(inputs, hidden), gelu, nn.Linear(hidden, inputs))

    def dropped(x):
        return x * x.new_empty(len(x), 1, 1).bernoulli_(keep).div_(keep)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.token_norm, self.channel_norm = (nn.LayerNorm(width, eps=1e-6) for _ in "ab")
            self.token_mlp, self.channel_mlp = mlp(tokens, 384), mlp(width, 3072)

        def forward(self, x):
            y = self.token_mlp(self.token_norm(x).transpose(1, 2)).transpose(1, 2)
            x = x + dropped(y)
            return x + dropped(self.channel_mlp(self.channel_norm(x)))

    class Mixer(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, width, 16, 16)
            self.blocks = nn.Sequential(*[Block() for _ in range(12)])
            self.norm = nn.LayerNorm(width, eps=1e-6)
            self.head = nn.Linear(width, CLASSES)

        def forward(self, x):
            x = self.stem(x).flatten(2).transpose(1, 2)
            return self.head(self.norm(self.blocks(x)).mean(1))

    return Mixer()


def _images(config):
    import numpy as np

    rng = np.random.default_rng(0)
    size = config.image_size
    images = rng.integers(0, 256, (config.batch_size, size, size, 3)).astype("float32")
    labels = rng.random((config.batch_size, CLASSES), "float32")
    return images, labels / labels.sum(axis=1, keepdims=True)


def _versions(*modules):
    return [f"{m} {importlib.import_module(m).__version__}" for m in dict.fromkeys(modules)]


def multiply_adds(names, size):
    """Returns the multiply-adds of each model for one image. For a process of its own."""
    # The count reads TensorFlow's graph, and the GPU's memory is for those that are measured.
    os.environ |= {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
    from keras_mixers.evaluation.costs import multiply_adds
    from keras_mixers.training.config import TrainingConfig
    from keras_mixers.training.model import build

    configs = [TrainingConfig(model=name, image_size=size) for name in names]
    return {config.model: multiply_adds(build(config, CLASSES)) for config in configs}


def measure(config, args, cores):
    """Trains the model of `config`, and its peer in turn where there is one.

    Returns:
        The facts of ours and perhaps of the peer, the times of both, and a note or None.
    """
    from keras_mixers.errors import UsageError

    with Process() as mine, Process() as other:
        processes, facts = [mine], [mine.call(prepare, ours, config, cores)]
        note = why_no_peer(config, facts[0])
        if config.model in PEERS and not note:
            known = facts[0]["card"], facts[0]["precision"]
            try:
                facts.append(other.call(prepare, peer, config, cores, *known))
                processes.append(other)
                note = facts[1].get("note")
            except UsageError as error:
                note = f"No peer: {error}"
        return facts, alternate(processes, args.steps, args.rounds, WARM_UP), note


def why_no_peer(config, facts):
    """Returns what to tell the user where there should be a peer and is none, or None."""
    if config.model not in PEERS:
        return None
    if importlib.util.find_spec("torch") is None:
        return "No peer: PyTorch is not installed; fix it by: pip install torch torchvision timm"
    if facts["devices"] > 1:
        return "No peer: it uses one device, and ours uses all; show it one of them only."
    return None


def row(config, macs, facts, times, mine=None):
    """Returns a line of the table.

    Args:
        config: A `TrainingConfig`.
        macs: Multiply-adds per image.
        facts: What `ours` or `peer` says, and of the card in either case.
        times: Rounds of seconds.
        mine: Our rounds, where these are the peer's.
    """
    seconds = [second for one in times for second in one]
    median = statistics.median(seconds)
    flops = 6 * macs * config.batch_size / median
    line = {
        "model": f"{config.model} ({facts['by']})",
        "batch": config.batch_size,
        "s/step": f"{median:.4g}",
        "min - max": f"{min(seconds):.4g} - {max(seconds):.4g}",
        "images/s": f"{config.batch_size / median:.4g}",
        "GMACs/image": f"{macs / 1e9:.3f}",
        "GFLOP/s": f"{flops / 1e9:.4g}",
    }
    if facts["card"]:
        line["of bf16 peak"] = _share(flops, facts)
    return line | {"ours / this": ratio(mine, times) if mine else ""}


def _share(flops, facts):
    peak = PEAKS.get(facts["card"])
    return f"{flops / (peak * 1e12 * facts['devices']):.1%}" if peak else "unknown card"


def _line(cores, facts):
    versions = dict.fromkeys(version for one in facts for version in one["versions"])
    card = facts[0]["card"] or "no GPU"
    return "; ".join((machine(cores), card, facts[0]["where"], ", ".join(versions)))


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="benchmarks/train_step.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    models = ["MLPMixerB16", "S2MLPDeep", "SMLPNetT"]
    parser.add_argument(
        "--models", nargs="+", default=models, help=f"default: {' '.join(models)}", metavar="NAME"
    )
    numbers = {
        "--batch-size": (16, "images of a step"),
        "--steps": (5, "of a round"),
        "--rounds": (5, "of each model"),
        "--image-size": (224, "pixels a side"),
    }
    for flag, (default, text) in numbers.items():
        text = f"{text} (default: {default})"
        parser.add_argument(flag, type=int, default=default, help=text, metavar="N")
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "mixed_bfloat16"),
        default="auto",
        help="auto: mixed_bfloat16 on GPUs, float32 on CPUs (default: auto)",
    )
    args = parser.parse_args(argv)
    for flag in numbers:
        value = getattr(args, flag[2:].replace("-", "_"))
        if value < 1:
            parser.error(f"argument {flag}: must be at least 1. Received: {value}")
    cli.prepare(parser, ("tabulate",), backends=("tensorflow", "jax"))
    import keras_mixers

    known = [v.__name__ for variants in keras_mixers.VARIANTS.values() for v in variants]
    for name in args.models:
        if name not in known:
            parser.error(f"argument --models: must be of {', '.join(known)}. Received: {name}")
    return parser, args


def run(args):
    """Prints what the machine is, the table and notes; on the way, what is being measured."""
    from tabulate import tabulate

    from keras_mixers.training.config import TrainingConfig

    with Process() as process:
        macs = process.call(multiply_adds, args.models, args.image_size)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    seen, lines, notes = [], [], {}
    for name in args.models:
        print(f"{name}: {args.rounds} rounds of {args.steps} steps", file=sys.stderr)
        config = TrainingConfig(
            model=name,
            image_size=args.image_size,
            batch_size=args.batch_size,
            precision=args.precision,
            loss="softmax",
            head_bias=0.0,
            warmup_epochs=0.0,
        )
        facts, times, note = measure(config, args, cores)
        lines += [
            row(config, macs[name], facts[0] | one, mine, times[0] if place else None)
            for place, (one, mine) in enumerate(zip(facts, times, strict=True))
        ]
        seen += facts
        notes |= {note: None} if note else {}
    print(_line(cores, seen), tabulate(lines, "keys", "github", disable_numparse=True), sep="\n\n")
    for note in notes:
        print(f"\n{note}")


def main(argv=None):
    parser, args = _parse(argv)
    from keras_mixers.errors import RunError

    try:
        run(args)
    except RunError as error:
        parser.exit(error.status, f"{parser.prog}: error: {error}\n")
    except BrokenProcessPool:
        parser.exit(1, f"{parser.prog}: error: a process was killed; try a smaller --batch-size.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
