"""Programs written by hand, with the traffic counted by hand."""

import pytest

from keras_mixers.tpu import hlo

_PROGRAM = """\
HloModule step, is_scheduled=true

%fused_computation (param_0: bf16[128,196,768], param_1: bf16[768,768]) -> bf16[128,196,768] {
  %param_0 = bf16[128,196,768]{2,1,0:T(8,128)(2,1)} parameter(0)
  %param_1 = bf16[768,768]{1,0:T(8,128)(2,1)S(1)} parameter(1)
  ROOT %dot.1 = bf16[128,196,768]{2,1,0:T(8,128)(2,1)} dot(%param_0, %param_1)
}

%cutting (param_0.1: f32[64,256], param_1.1: s32[]) -> f32[8,256] {
  %param_0.1 = f32[64,256]{1,0:T(8,128)} parameter(0)
  %param_1.1 = s32[]{:T(128)} parameter(1)
  %part = f32[8,256]{1,0:T(8,128)} slice(%param_0.1), slice={[0:8], [0:256]}
  ROOT %twice = f32[8,256]{1,0:T(8,128)} add(%part, %part)
}

%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %c = f32[] add(%a, %b)
}

ENTRY %main (p0: bf16[128,196,768], p1: bf16[768,768], p2: f32[64,256]) -> f32[8,256] {
  %p0 = bf16[128,196,768]{2,1,0:T(8,128)(2,1)} parameter(0)
  %p1 = bf16[768,768]{1,0:T(8,128)(2,1)} parameter(1)
  %p2 = f32[64,256]{1,0:T(8,128)} parameter(2)
  %zero = s32[]{:T(128)S(6)} constant(0)
  %copy-start.1 = (bf16[768,768]{1,0:T(8,128)(2,1)S(1)}, bf16[768,768]{1,0:T(8,128)(2,1)}, u32[]{:S(2)}) copy-start(%p1)
  %copy-done.1 = bf16[768,768]{1,0:T(8,128)(2,1)S(1)} copy-done(%copy-start.1)
  %mixed = bf16[128,196,768]{2,1,0:T(8,128)(2,1)} fusion(%p0, %copy-done.1), kind=kOutput, calls=%fused_computation, metadata={op_name="jit(train)/block_0/dot" source_file="x"}
  %slice-start.1 = ((f32[64,256]{1,0:T(8,128)}), f32[16,256]{1,0:T(8,128)S(1)}, s32[]{:S(2)}) slice-start(%p2), slice={[0:16], [0:256]}
  %slice-done.1 = f32[16,256]{1,0:T(8,128)S(1)} slice-done(%slice-start.1)
  %bits = f32[16,256]{1,0:T(8,128)S(1)} custom-call(%slice-done.1), custom_call_target="ConcatBitcast"
  %all-reduce.1 = f32[64,256]{1,0:T(8,128)S(1)} all-reduce(%p2), replica_groups={{0,1}}, to_apply=%sum
  ROOT %cut = f32[8,256]{1,0:T(8,128)} fusion(%p2, %zero), kind=kLoop, calls=%cutting
}
"""  # noqa: E501

# 196 positions in bfloat16 are tiles of 8 rows, in pairs: the second bracket of T(8,128)(2,1)
# packs two numbers into one of the tile's words and adds no rows.
_MAP = 128 * 200 * 768 * 2


def test_traffic_with_the_large_memory_only():
    operations = hlo.operations(_PROGRAM)
    assert [(o.kind, o.traffic) for o in operations] == [
        ("copy", 768 * 768 * 2),  # Read there, written to VMEM.
        ("fusion", 2 * _MAP),  # The kernel is in VMEM.
        ("slice", 16 * 256 * 4),  # A part of its operand.
        ("custom-call", 0),  # A name for what is side by side.
        ("all-reduce", 64 * 256 * 4),  # Read there, written to VMEM.
        ("fusion", 2 * 8 * 256 * 4),  # Reads a part, writes it.
    ]


def test_sources_and_exchange():
    operations = hlo.operations(_PROGRAM)
    assert operations[1].source == "jit(train)/block_0/dot"
    assert operations[0].source == ""
    assert [o.exchanged for o in operations if o.exchanged] == [64 * 256 * 4]


def test_what_the_compiler_does_a_second_time():
    assert not any(operation.repeated for operation in hlo.operations(_PROGRAM))
    again = hlo.operations(_PROGRAM.replace("%mixed =", "%mixed.1.remat2 ="))
    assert [operation.repeated for operation in again].index(True) == 1
    last = hlo.operations(_PROGRAM.replace("ROOT %cut =", "ROOT %cut.remat ="))
    assert last[-1].repeated


_LOOP = """\
%body (p: (s32[], f32[8,128])) -> (s32[], f32[8,128]) {
  %p = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}) parameter(0)
  %x = f32[8,128]{1,0:T(8,128)} get-tuple-element(%p), index=1
  %y = f32[8,128]{1,0:T(8,128)} negate(%x)
  ROOT %t = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}) tuple(%i, %y)
}

%condition (p.1: (s32[], f32[8,128])) -> pred[] {
  %p.1 = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}) parameter(0)
  ROOT %less = pred[]{:T(512)} compare(%a, %b), direction=LT
}

ENTRY %main (q: (s32[], f32[8,128])) -> (s32[], f32[8,128]) {
  %q = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}) parameter(0)
  ROOT %while.1 = (s32[], f32[8,128]{1,0:T(8,128)}) while(%q), condition=%condition, body=%body
}
"""


@pytest.mark.parametrize("loops", [1, 5])
def test_a_loop_counts_as_often_as_it_runs(loops):
    operations = hlo.operations(_LOOP, loops)
    assert [(o.kind, o.traffic) for o in operations] == [("negate", 2 * 4096)] * loops


_OTHERS = """\
%body (p: f32[8,128]) -> f32[8,128] {
  %p = f32[8,128]{1,0:T(8,128)} parameter(0)
  ROOT %y = f32[8,128]{1,0:T(8,128)} negate(%p)
}

%mixed (p.1: f32[64,128], p.2: f32[64,128]) -> f32[8,128] {
  %p.1 = f32[64,128]{1,0:T(8,128)} parameter(0)
  %p.2 = f32[64,128]{1,0:T(8,128)} parameter(1)
  %part = f32[8,128]{1,0:T(8,128)} slice(%p.1), slice={[0:8], [0:128]}
  %whole = f32[64,128]{1,0:T(8,128)} negate(%p.1)
  %set = f32[8,128]{1,0:T(8,128)} dynamic-slice(%p.1, %p.2)
  ROOT %z = f32[8,128]{1,0:T(8,128)} slice(%whole), slice={[0:8], [0:128]}
}

ENTRY %main (q: f32[64,128], i: s32[]) -> f32[8,128] {
  %q = f32[64,128]{1,0:T(8,128)} parameter(0)
  %i = s32[]{:T(128)S(6)} parameter(1)
  %cut = f32[8,128]{1,0:T(8,128)} dynamic-slice(%q, %i)
  %rows = f32[16,128]{1,0:T(8,128)} gather(%q, %i)
  %called = f32[8,128]{1,0:T(8,128)} call(%cut), to_apply=%body
  %scalar = f32[2,128]{1,0:T(2,128)S(2)} iota()
  %both = f32[8,128]{1,0:T(8,128)} fusion(%q, %q), kind=kLoop, calls=%mixed
  %all-reduce-start = f32[64,128]{1,0:T(8,128)} all-reduce-start(%q), to_apply=%sum
  %all-reduce-done = f32[64,128]{1,0:T(8,128)} all-reduce-done(%all-reduce-start)
  %async-start = ((f32[8,128]{1,0:T(8,128)}), f32[8,128]{1,0:T(8,128)S(1)}) async-start(%cut)
  %async-update = ((f32[8,128]{1,0:T(8,128)}), f32[8,128]{1,0:T(8,128)S(1)}) async-update(%async-start)
  %async-done = f32[8,128]{1,0:T(8,128)S(1)} async-done(%async-update)
  ROOT %gathered = f32[128,128]{1,0:T(8,128)} all-gather(%q), dimensions={0}
}
"""  # noqa: E501


def test_traffic_of_other_kinds():
    operations = hlo.operations(_OTHERS, loops=7)
    assert [(o.kind, o.traffic // 512, o.exchanged // 512) for o in operations] == [
        ("dynamic-slice", 2 * 8, 0),  # Of its operand, what comes out.
        ("gather", 2 * 16, 0),
        ("negate", 2 * 8, 0),  # Called once, however often loops run.
        ("iota", 0, 0),  # Not in the large memory.
        # Cuts its first operand, but also needs all of it; reads the second as a place.
        ("fusion", 64 + 64 + 8, 0),
        ("all-reduce", 2 * 64, 64),  # Begun and ended, but once.
        ("async", 8, 0),  # Reads there, writes to VMEM.
        ("all-gather", 64 + 128, 0),
    ]


@pytest.mark.parametrize(
    ("shape", "size", "in_hbm"),
    [
        ("f32[10]{0}", 40, True),
        ("f32[]{:T(128)}", 4, True),
        ("bf16[3,5]{1,0:T(8,128)(2,1)S(1)}", 8 * 128 * 2, False),
        # The fastest two sides are the first and the third.
        ("bf16[128,224,224,3]{0,2,3,1:T(8,128)(2,1)}", 224 * 3 * 224 * 128 * 2, True),
        ("s4[2,8]{1,0}", 8, True),
        ("u32[]{:S(2)}", 4, False),
        ("f32[8,128]{1,0:T(8,128)S(1)}", 4096, False),
    ],
)
def test_sizes_of_arrays(shape, size, in_hbm):
    program = f"ENTRY %main (a: f32[]) -> f32[] {{\n  ROOT %b = {shape} iota()\n}}\n"
    (operation,) = hlo.operations(program)
    assert operation.traffic == (size if in_hbm else 0)
