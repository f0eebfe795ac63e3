"""The plan of a step that has one number for each thing."""

import argparse

import pytest

from keras_mixers.tpu import plan


def step(**changes):
    """A step of two layers, with one number for each thing."""
    names = ("argument_size", "output_size", "alias_size", "temp_size", "generated_code_size")
    sizes = dict(zip(names, (1000, 450, 400, 300, 20), strict=True))
    text = "\n".join(
        (
            "ENTRY %main (p: f32[]) -> f32[] {",
            "  %g = f32[8,128]{1,0:T(8,128)} parameter(0)",
            *(
                f'  %a{i} = f32[8,128]{{1,0:T(8,128)}} negate(%g), metadata={{op_name="{name}"}}'
                for i, name in enumerate(changes.pop("sources", ("jit(train)/adam/mul",)))
            ),
            "  %r = f32[8,128]{1,0:T(8,128)} all-reduce(%g), to_apply=%sum",
            "}",
        )
    )
    given = dict(
        text=text,
        costs={"flops": 197e9, "bytes accessed": 5000.0},
        memory=argparse.Namespace(**{f"{name}_in_bytes": size for name, size in sizes.items()}),
        variables={"trainable": 100, "non_trainable": 10, "optimizer": 200, "average": 110},
        layers={
            "block_1_token_mixing": "block_*_token_mixing",
            "stem": "stem",
            "head_norm": "head_norm",
        },
        loops=1,
        exchanged_elsewhere=0,
    )
    return argparse.Namespace(**(given | changes))


def test_plan_of_a_step_with_one_number_for_each_thing():
    found = plan.plan(step(), 64, "v5e", 4)
    assert found.memory == {
        "parameters": 110,
        "optimizer state": 200,
        "average of the weights": 110,
        "images, labels, padding": 1000 - 110 - 200 - 110,
        "activations and temporary": 300 + 450 - 400,
        "program": 20,
    }
    assert found.traffic == 2 * 2 * 4096
    assert found.capacity == 15.75 * 2**30
    assert found.exchanged == 4096
    assert found.accessed_by_xla == 5000
    assert found.images == 16
    assert found.repeated == 0
    assert found.bounds == pytest.approx(
        {
            "arithmetic": 197e9 / 197e12,
            "memory traffic": 4 * 4096 / 819e9,
            # Of four parts, three go out to be summed up, and three times a sum.
            "interconnect": 6 / 4 * 4096 / 200e9,
        }
    )


def test_what_another_program_exchanges_counts_and_loops_multiply():
    found = plan.plan(step(exchanged_elsewhere=904, loops=3), 64, "v6e", 8)
    assert found.exchanged == 5000
    assert found.flops == 3 * 197e9
    assert found.accessed_by_xla == 5000
    assert found.bounds["interconnect"] == pytest.approx(14 / 8 * 5000 / 448e9)


def test_traffic_of_a_loop_counts_as_often_as_it_runs():
    once = step().text
    looped = once.replace("ENTRY %main", "%body") + (
        "\nENTRY %main (p: f32[]) -> f32[] {\n"
        "  ROOT %w = f32[] while(%p), condition=%c, body=%body\n}\n"
    )
    counted = [plan.plan(step(text=text, loops=3), 64, "v5e", 4).traffic for text in (once, looped)]
    assert counted == [4 * 4096, 3 * 4 * 4096]


@pytest.mark.parametrize(("kind", "mover"), [("copy", True), ("slice", True), ("negate", False)])
def test_transfers_that_the_compiler_puts_in_are_named(kind, mover):
    text = step(sources=("",)).text.replace("negate(", f"{kind}(")
    found = plan.plan(step(text=text), 64, "v5e", 1)
    assert ("copies between memories" in found.largest_traffic) == mover


def test_results_in_the_place_of_arguments_take_no_memory():
    sizes = step().memory
    sizes.output_size_in_bytes = 10  # Less than what takes the place of arguments.
    found = plan.plan(step(memory=sizes), 64, "v5e", 4)
    assert found.memory["activations and temporary"] == 300


def test_what_the_compiler_does_twice_is_counted():
    text = step().text.replace("%a0 =", "%a0.remat =").replace("%r =", "%r.remat.1 =")
    assert plan.plan(step(text=text), 64, "v5e", 4).repeated == 2


@pytest.mark.parametrize(
    ("source", "mover"),
    [
        ("jit(train)/jvp(mixer)/block_1_token_mixing/fc1/dot", "block_*_token_mixing, forward"),
        ("jit(t)/transpose(jvp(m))/block_1_token_mixing/dot", "block_*_token_mixing, backward"),
        (
            "jit(t)/transpose(jvp(m))/rematted_computation/block_1_token_mixing/dot",
            "block_*_token_mixing, recomputed",
        ),
        ("gradient_tape/stem_1/MatMul", "stem, backward"),
        ("model_1/head_norm_1/mul", "head_norm, forward"),
        ("jit(train)/adam_w/sub", "optimizer, clipping, loss"),
        ("", "other"),
    ],
)
def test_names_of_movers(source, mover):
    found = plan.plan(step(sources=(source,)), 64, "v5e", 1)
    assert found.largest_traffic[mover] >= 2 * 4096
