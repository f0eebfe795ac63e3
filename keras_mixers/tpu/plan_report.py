"""What a person sees of a plan: tables, an image, or one sentence."""

import contextlib
import dataclasses
import io
import json
import sys
import threading
import time
import typing

from tabulate import tabulate

from keras_mixers.tpu.chips import CHIPS, kind_of

# Kinds of layers, and what part of all bytes they move; the rest is summed.
_SHOWN, _LEAST = 12, 1 / 400


class About(typing.NamedTuple):
    """What a plan is of."""

    config: typing.Any
    topology: str
    backend: str

    @property
    def kind(self):
        """Name of the chip."""
        return kind_of(self.topology)

    def of(self, batch_size):
        """Returns the same with another batch size."""
        return self._replace(config=dataclasses.replace(self.config, batch_size=batch_size))


@contextlib.contextmanager
def waiting(what):
    """Shows how long something takes whose progress nobody knows, on its error output."""
    start, done = time.monotonic(), threading.Event()

    def show():
        while not done.wait(1 if sys.stderr.isatty() else 60):
            seconds = time.monotonic() - start
            end = "\r" if sys.stderr.isatty() else "\n"
            print(f"{what}: {seconds:.0f} s", end=end, file=sys.stderr, flush=True)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        print(f"{what}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


def tables(about, plan):
    """Returns the plan as text."""
    chip = CHIPS[about.kind]
    rates = f"Rates of {about.kind}: {chip.source}"
    if about.backend == "tensorflow":
        rates += (
            "\nTensorFlow does not show the all-reduce. It is assumed to be of the gradients only, "
            "in the precision of the products."
        )
    return "\n\n".join(
        (
            _headline(about, plan),
            _table("memory of a chip", "GB", "share", _memory(plan)),
            _table("a step of a chip", "", "at least, ms", _bounds(plan, chip)),
            _conclusion(about, plan),
            _table("bytes moved by", "GB", "share", _largest_traffic(plan)),
            rates,
        )
    )


def _headline(about, plan):
    config = about.config
    height, width = config.preprocessing.size
    parts = (
        f" in {config.gradient_accumulation_steps} parts"
        if config.gradient_accumulation_steps > 1
        else ""
    )
    remat = ", residuals computed twice" if config.remat else ""
    vmem = f", {config.tpu_scoped_vmem:,} KiB of VMEM" if config.tpu_scoped_vmem else ""
    by = {"jax": "JAX", "tensorflow": "TensorFlow"}[about.backend]
    images = f"{config.batch_size:,} images of {height} x {width} a step{parts}"
    options = f"({', '.join(config.model_options)})" if config.model_options else ""
    return (
        f"{config.model}{options}: {images}, {plan.images:,} a chip, on {about.topology} "
        f"({plan.chips} chips); {config.precision}, {config.optimizer}{remat}{vmem}; traced by {by}"
    )


def _memory(plan):
    rows = [(name, size, size / plan.capacity) for name, size in plan.memory.items() if size]
    used = sum(plan.memory.values())
    rows.append(("together", used, used / plan.capacity))
    rows.append(("a program may have", plan.capacity, 1.0))
    return [(name, _number(size / 1e9), f"{share:.0%}") for name, size, share in rows]


def _bounds(plan, chip):
    rates = {
        "arithmetic": (plan.flops / 1e12, "TFLOP", chip.flops / 1e12, "TFLOP/s"),
        "memory traffic": (plan.traffic / 1e9, "GB", chip.memory_rate / 1e9, "GB/s"),
        "interconnect": (plan.exchanged / 1e9, "GB all-reduced", chip.exchange_rate / 1e9, "GB/s"),
    }
    rows = []
    for name, seconds in plan.bounds.items():
        amount, unit, rate, of_rate = rates[name]
        quantity = f"{_number(amount)} {unit} at {rate:,.0f} {of_rate}"
        rows.append((name, quantity, _milliseconds(seconds)))
    return rows


def _conclusion(about, plan):
    least, accessed = _milliseconds(plan.bounds[plan.bound]), plan.accessed_by_xla
    speed, share = f"{plan.images_per_second:,.0f}", f"{plan.share_of_peak:.0%}"
    by_xla = _milliseconds(accessed / CHIPS[about.kind].memory_rate)
    loop = about.config.gradient_accumulation_steps > 1 and about.backend == "jax"
    part = " for a part of the batch" if loop else ""
    repeated = (
        f"\nMemory is short: the compiler does {plan.repeated:,} operations a second time, rather "
        "than keep what comes out. A smaller batch has less to do for an image."
    )
    return (
        f"Bound by {plan.bound}: a step takes {least} ms or more, the slice trains on {speed} "
        f"images/s or fewer, at up to {share} of its peak arithmetic. These are bounds, not "
        "measurements.\n"
        f"(XLA's own count is {_number(accessed / 1e9)} GB{part}, {by_xla} ms: without the padding "
        "of arrays, but with accesses that stay on the chip.)"
        f"{repeated if plan.repeated else ''}"
    )


def _largest_traffic(plan):
    return [
        (name, _number(size / 1e9), f"{size / plan.traffic:.1%}") for name, size in _largest(plan)
    ]


def _largest(plan):
    """Returns what moves the most bytes, and the sum of the rest."""
    rows = [row for row in plan.largest_traffic.items() if row[1] >= _LEAST * plan.traffic][:_SHOWN]
    rest = plan.traffic - sum(size for _, size in rows)
    return [*rows, *([("all others", rest)] if rest else [])]


def _number(value):
    return f"{value:.2f}" if value >= 0.01 or not value else f"{value:.2g}"


def _milliseconds(seconds):
    return f"{1e3 * seconds:.1f}" if seconds >= 1e-3 or not seconds else f"{1e3 * seconds:.2g}"


def _table(first, second, third, rows):
    alignment = ("left", "right", "right")
    return tabulate(
        rows, (first, second, third), "github", disable_numparse=True, colalign=alignment
    )


def too_large(about, error, as_json, smallest=False):
    """Returns what to say where a step does not fit, maybe not even with the smallest batch."""
    if as_json:
        needs = {"fits": False, "needed": error.needed, "available": error.available}
        return json.dumps(_settings(about) | needs)
    config = about.config
    help_ = [] if config.precision == "mixed_bfloat16" else ["--precision mixed_bfloat16"]
    help_ += [] if config.remat else ["--remat"]
    batch = [
        "a smaller --batch-size (--find-batch finds the largest)",
        "more --gradient-accumulation-steps",
    ]
    help_ += ["a chip with more"] if smallest else [*batch, "a larger slice"]
    needed, there = error.needed / 1e9, error.available / 1e9
    return (
        f"{config.model} does not fit on {about.topology}: a step of {config.batch_size:,} "
        f"images needs at least {needed:.2f} GB of a chip's {there:.2f} GB, "
        f"{needed - there:.2f} GB too much. What helps: {', '.join(help_)}."
    )


def as_json(about, plan):
    """Returns the plan and what it is of as one JSON object."""
    return json.dumps(_settings(about) | {"fits": True} | plan.as_dict())


def _settings(about):
    return {
        "model": about.config.model,
        "topology": about.topology,
        "backend": about.backend,
        "config": dataclasses.asdict(about.config),
    }


def draw(about, plan, path):
    """Draws where a chip's memory and bytes go. Writes a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (memory, traffic) = plt.subplots(
        2, 1, figsize=(10, 7), height_ratios=(1, 4), layout="constrained"
    )
    figure.suptitle(_headline(about, plan), fontsize=9, wrap=True)
    left = 0
    for name, size in plan.memory.items():
        if not size:
            continue
        memory.barh(0, size / 1e9, left=left, label=f"{name} {_number(size / 1e9)}")
        left += size / 1e9
    memory.axvline(plan.capacity / 1e9, color="black", linestyle="--")
    memory.set(title="memory of a chip, GB (dashed: what a program may have)", yticks=[])
    memory.legend(ncols=3, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.25))
    names, sizes = zip(*reversed(_largest(plan)), strict=True)
    bars = traffic.barh(names, [size / 1e9 for size in sizes])
    labels = [f"{_number(size / 1e9)} ({size / plan.traffic:.1%})" for size in sizes]
    traffic.bar_label(bars, labels, fontsize=8, padding=3)
    traffic.set(title=f"bytes moved in a step: {_number(plan.traffic / 1e9)} GB", xlabel="GB")
    traffic.margins(x=0.15)
    image = io.BytesIO()
    figure.savefig(image, dpi=110)
    plt.close(figure)
    path.write_bytes(image.getvalue())
