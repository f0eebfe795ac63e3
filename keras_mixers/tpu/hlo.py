"""What a compiled program moves, read from its text: XLA's HLO after all optimization.

XLA's own sum of "bytes accessed" also counts what lies in the chip's own vector memory (VMEM), and
a transfer into it three times. Here only traffic with the large memory (HBM) counts: what an
operation reads from it and writes to it, once each, as it lies there, padded to tiles of 8 x 128.
"""

import math
import re
import typing

_BYTES = {
    "pred": 1,
    "s4": 0.5,
    "u4": 0.5,
    "s8": 1,
    "u8": 1,
    "s16": 2,
    "u16": 2,
    "bf16": 2,
    "f16": 2,
}
_BYTES |= {"s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8, "c64": 8}
_ARRAY = re.compile(rf"\b({'|'.join(_BYTES)})\[([\d,]*)\](?:{{([^}}]*)}})?")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*?[\])}]) ([a-z][\w\-]*)\((.*)$")
_NAME = re.compile(r"%([\w.\-]+)")
_REPEATED = re.compile(r"\s+(?:ROOT )?%?[\w.\-]+\.remat")

# No work of their own: names for what is there, and the ends of transfers that others begin.
_FREE = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "opt-barrier")
_FREE += ("copy-done", "slice-done", "async-done", "async-update", "all-reduce-done", "after-all")
_SLICES = ("slice", "dynamic-slice", "gather")


class Array(typing.NamedTuple):
    """An array of a program."""

    size: int
    """Bytes, with the padding of its tiles."""
    in_hbm: bool
    """Whether it lies in the large memory."""


class Instruction(typing.NamedTuple):
    """A line of a program."""

    kind: str
    arrays: list
    """What comes out."""
    operands: list
    """Names of what goes in."""
    text: str


class Operation(typing.NamedTuple):
    """What a program does at one point, and what that moves."""

    kind: str
    source: str
    """Where in the model it comes from, as JAX or TensorFlow names it."""
    traffic: int
    """Bytes read from and written to HBM."""
    exchanged: int
    """Bytes of this chip that go into an all-reduce; 0 for all other kinds."""
    repeated: bool
    """Whether the compiler put it in a second time, as there is no memory to keep what came out."""


def operations(text, loops=1):
    """Returns the operations of a program, in the order in which they run.

    Args:
        text: The program, optimized and scheduled.
        loops: How often a loop of the program runs, which its text does not say.
    """
    computations, entry = _read(text)
    return list(_operations(computations, entry, loops))


def _read(text):
    """Returns the computations of a program by name, each with its instructions, and the first."""
    computations, entry, current = {}, None, {}
    for line in text.splitlines():
        if found := _COMPUTATION.match(line):
            current = computations[found[2]] = {}
            entry = found[2] if found[1] else entry
        elif found := _INSTRUCTION.match(line):
            name, shape, kind, rest = found.groups()
            operands = _NAME.findall(rest.split("), ")[0])
            current[name] = Instruction(kind, _arrays(shape), operands, line)
    return computations, entry


def _operations(computations, name, loops):
    instructions = computations[name]
    for instruction in instructions.values():
        if instruction.kind in ("while", "call"):
            times = loops if instruction.kind == "while" else 1
            called = re.search(r"(?:body|to_apply)=%?([\w.\-]+)", instruction.text)[1]
            yield from list(_operations(computations, called, loops)) * times
        elif instruction.kind not in _FREE:
            yield _operation(computations, instructions, instruction)


def _operation(computations, instructions, instruction):
    source = re.search(r'op_name="([^"]*)"', instruction.text)
    kind = instruction.kind.removesuffix("-start")
    inputs = [a for o in instruction.operands if o in instructions for a in instructions[o].arrays]
    return Operation(
        kind,
        source[1] if source else "",
        _traffic(computations, instructions, instruction),
        sum(array.size for array in inputs) if kind == "all-reduce" else 0,
        bool(_REPEATED.match(instruction.text)),
    )


def _traffic(computations, instructions, instruction):
    arrays = instruction.arrays
    if instruction.kind in ("copy-start", "async-start"):  # Operand, result, marks.
        return _in_hbm(arrays[:2])
    if instruction.kind == "slice-start":
        whole, part, *_ = arrays
        return part.size * (whole.in_hbm + part.in_hbm)
    if '"ConcatBitcast"' in instruction.text:  # Its operands lie side by side already.
        return 0
    moved = _in_hbm(arrays)
    for place, operand in enumerate(instruction.operands):
        if operand in instructions:
            needed = _needed(computations, instruction, place)
            moved += min(_in_hbm(instructions[operand].arrays), needed)
    return moved


def _needed(computations, instruction, place):
    """Returns the most bytes that an operation can read of an operand, which it may cut first."""
    if instruction.kind in _SLICES:
        return sum(array.size for array in instruction.arrays)
    called = re.search(r"calls=%?([\w.\-]+)", instruction.text)
    if instruction.kind != "fusion" or not called:
        return math.inf
    fused = computations[called[1]]
    parameter = next(
        name
        for name, inner in fused.items()
        if inner.kind == "parameter" and f" parameter({place})" in inner.text
    )
    users = [inner for inner in fused.values() if parameter in inner.operands]
    if not all(user.kind in _SLICES and user.operands[0] == parameter for user in users):
        return math.inf
    return sum(array.size for user in users for array in user.arrays)


def _in_hbm(arrays):
    return sum(array.size for array in arrays if array.in_hbm)


def _arrays(shape):
    """Returns the arrays in a shape, which may be a tuple of them."""
    return [_array(*parts) for parts in _ARRAY.findall(shape)]


def _array(kind, sides, layout):
    """Reads a shape such as bf16[128,196,768]{2,1,0:T(8,128)(2,1)S(1)}.

    The layout names the sides from the fastest to the slowest; the tiles cover the fastest ones,
    T(8,128) the last two; S(1) is VMEM, no S is HBM.
    """
    sides = [int(side) for side in sides.split(",") if side]
    order, _, rest = layout.partition(":")
    sides = [sides[int(place)] for place in reversed(order.split(",")) if place] or sides
    if tile := re.search(r"T\(([\d,]+)\)", rest):
        for back, side in enumerate(reversed(tile[1].split(",")), start=1):
            if back <= len(sides):
                sides[-back] = -(-sides[-back] // int(side)) * int(side)
    return Array(math.ceil(_BYTES[kind] * math.prod(sides)), "S(" not in rest)
