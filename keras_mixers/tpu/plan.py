"""What a compiled training step needs, and how quick it can be at best."""

import collections
import dataclasses
import re

from keras_mixers.tpu import hlo
from keras_mixers.tpu.chips import CHIPS

_BACKWARD = ("transpose(", "gradient_tape/")
_AGAIN = "rematted_computation"


@dataclasses.dataclass(frozen=True)
class Plan:
    """Sizes in bytes, times in seconds; everything for one chip, but for `images_per_second`."""

    chips: int
    images: int
    """Per step and chip."""
    memory: dict
    """By what it is for."""
    capacity: float
    """Of a chip's memory."""
    flops: float
    traffic: float
    """Read from and written to the large memory (HBM), see `keras_mixers.tpu.hlo`."""
    accessed_by_xla: float
    """XLA's own count, without padding, with on-chip memory, and each loop once."""
    exchanged: float
    """Of gradients and statistics that go into an all-reduce."""
    bounds: dict
    """Shortest time of a step by `arithmetic`, `memory traffic` and `interconnect`."""
    largest_traffic: dict
    """Traffic by kind of layer and direction, the largest first."""
    repeated: int
    """Operations that the compiler itself does a second time, to save memory."""

    @property
    def bound(self):
        """What takes longest of `bounds`."""
        return max(self.bounds, key=self.bounds.get)

    @property
    def images_per_second(self):
        """Of the whole slice, at most."""
        return self.chips * self.images / self.bounds[self.bound]

    @property
    def share_of_peak(self):
        """Share of the chip's peak arithmetic that the bounds allow."""
        return self.bounds["arithmetic"] / self.bounds[self.bound]

    def as_dict(self):
        """Returns all of it, for JSON."""
        more = ("bound", "images_per_second", "share_of_peak")
        return dataclasses.asdict(self) | {name: getattr(self, name) for name in more}


def plan(step, batch_size, kind, chips):
    """Returns the `Plan` of a compiled step.

    Args:
        step: A `compiled_step.Step`.
        batch_size: Of the whole slice.
        kind: Name of the chip, a key of `CHIPS`.
        chips: How many there are.
    """
    chip = CHIPS[kind]
    operations = hlo.operations(step.text, step.loops)
    # What is outside of the loop, the optimizer, is next to no arithmetic.
    flops = step.costs["flops"] * step.loops
    traffic = sum(operation.traffic for operation in operations)
    exchanged = sum(operation.exchanged for operation in operations) + step.exchanged_elsewhere
    bounds = {
        "arithmetic": flops / chip.flops,
        "memory traffic": traffic / chip.memory_rate,
        # Each chip must send all but its own share of the sum twice: once to be added up, once
        # to be told.
        "interconnect": 2 * (chips - 1) / chips * exchanged / chip.exchange_rate,
    }
    return Plan(
        chips=chips,
        images=batch_size // chips,
        memory=_memory(step),
        capacity=chip.memory,
        flops=flops,
        traffic=traffic,
        accessed_by_xla=step.costs["bytes accessed"],
        exchanged=exchanged,
        bounds=bounds,
        largest_traffic=_largest_traffic(operations, step.layers),
        repeated=sum(operation.repeated for operation in operations),
    )


def _memory(step):
    sizes, memory = step.variables, step.memory
    parameters = sizes["trainable"] + sizes["non_trainable"]
    held = parameters + sizes["optimizer"] + sizes["average"]
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return {
        "parameters": parameters,
        "optimizer state": sizes["optimizer"],
        "average of the weights": sizes["average"],
        "images, labels, padding": max(memory.argument_size_in_bytes - held, 0),
        "activations and temporary": memory.temp_size_in_bytes + max(results, 0),
        "program": memory.generated_code_size_in_bytes,
    }


def _largest_traffic(operations, layers):
    traffic = collections.Counter()
    for operation in operations:
        if operation.traffic:
            traffic[_mover(operation, layers)] += operation.traffic
    return dict(traffic.most_common())


def _mover(operation, layers):
    """Names an operation by kind of layer and direction: block_*_channel_mixing, backward."""
    parts = re.split(r"[/()]", operation.source)
    parts += [re.sub(r"_[0-9]+$", "", part) for part in parts]  # TensorFlow's block_0_norm_1.
    layer = next((part for part in parts if part in layers), None)
    if layer is None:
        if not operation.source:
            return "copies between memories" if operation.kind in ("copy", "slice") else "other"
        return "optimizer, clipping, loss"
    direction = "forward"
    if any(mark in operation.source for mark in _BACKWARD):
        direction = "recomputed" if _AGAIN in operation.source else "backward"
    return f"{layers[layer]}, {direction}"
