"""Plans without a TPU: small models traced by both backends; and all that needs no compiler."""

import argparse
import dataclasses
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
from matplotlib import pyplot
from PIL import Image

import keras_mixers
import keras_mixers.tpu
from keras_mixers.commands import tpu_plan
from keras_mixers.errors import RunError, UsageError
from keras_mixers.evaluation import costs
from keras_mixers.tpu import compilation, plan, plan_report
from keras_mixers.tpu.chips import CHIPS
from keras_mixers.tpu.refusals import DoesNotFitError
from tests.helpers.sampling import extended
from tests.tpu import compile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TPU_PLAN = ("-m", "keras_mixers.commands", "tpu-plan")


def run(*command, **environment):
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=900,
    )


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("backend", "runs"),
    extended(("jax", "0 1 2 3 too-large"), ("tensorflow", "0 1 2 3 too-large")),
)
def test_a_small_model_of_each_family(backend, runs):
    runs = runs.split()
    done = run("-m", "tests.tpu.compile", backend, *runs)
    assert done.returncode == 0, done.stderr[-3000:]
    plans = [json.loads(line) for line in done.stdout.splitlines()]
    if runs[-1] == "too-large":
        # More images than any chip holds, of which each needs as much as they do here at least.
        assert (found := plans.pop())["fits"] is False
        assert 64 * 64 * 3 * 2**18 < found["needed"] > found["available"] == 15.75 * 2**30
        runs.pop()
    assert [plan["model"] for plan in plans] == [compile.RUNS[int(run)][0] for run in runs]
    for found in plans:
        options = compile.MODELS[found["model"]]
        model = getattr(keras_mixers, found["model"])(
            input_shape=(64, 64, 3), classes=16, **options
        )
        parts = found["config"]["gradient_accumulation_steps"]
        images = parts * compile.IMAGES
        assert (found["chips"], found["images"]) == (4, images)
        # Forward once, backward twice; a product is a multiplication and an addition. What is
        # computed again are the first products of both residuals, 46 % of all, forward.
        expected = 6 * costs.multiply_adds(model) * images
        if found["config"]["remat"]:
            expected *= 1 + 0.46 / 3
        assert found["flops"] == pytest.approx(expected, rel=0.07)
        parameters = model.count_params()
        gradients = costs.trainable_parameters(model)
        # Random generators have states, and the optimizer a counter and a rate.
        assert found["memory"]["parameters"] == pytest.approx(4 * parameters, rel=0.01)
        assert found["memory"]["optimizer state"] == pytest.approx(8 * gradients, rel=0.01)
        # In bfloat16 or float32, as XLA sees fit.
        assert 2 * gradients <= found["exchanged"] <= 4.2 * gradients
        # It reads and writes parameters, averages and both moments, and reads the images.
        assert 4 * 6 * gradients + images * 64 * 64 * 3 < found["traffic"]
        # XLA counts a loop once and no padding, but what stays on the chip, too.
        times = parts if backend == "jax" else 1
        assert 0.5 < found["traffic"] / found["accessed_by_xla"] / times < 1.1
        assert found["bounds"]["arithmetic"] == pytest.approx(found["flops"] / 197e12)
        assert any("block_*_channel_mixing" in mover for mover in found["largest_traffic"])
        assert sum(found["largest_traffic"].values()) == found["traffic"]
        if not found["config"]["remat"]:
            ratio = options.get("channels_mlp_dim", 3 * 256) / 256
            check_channel_mixing(found["largest_traffic"], images * 8 * 8 * 256 * 2, ratio)


def check_channel_mixing(largest_traffic, feature_map, ratio):
    """Reads a map, writes and reads the hidden one, writes a map; maybe before and after GELU."""
    least = 2 * (1 + ratio) * feature_map
    assert 0.99 * least < largest_traffic["block_*_channel_mixing, forward"] < 2.5 * least


def arguments(*given):
    return tpu_plan._parse(list(given))[1]


@pytest.mark.parametrize(
    ("given", "model", "loss", "batch"),
    [
        ((), "MLPMixerB16", "sigmoid", 4096),
        (("--recipe", "mixer_b16", "--model", "MLPMixerL16"), "MLPMixerL16", "sigmoid", 4096),
        (("--model", "MLPMixerL32"), "MLPMixerL32", "sigmoid", 4096),
        (("--model", "S2MLPWide"), "S2MLPWide", "softmax", 1024),
        (("--model", "SMLPNetB"), "SMLPNetB", "softmax", 1024),
        (("--model", "SMLPNetB", "--recipe", "mixer_s16"), "SMLPNetB", "sigmoid", 4096),
        (("--recipe", "smlpnet_s", "--batch-size", "64"), "SMLPNetS", "softmax", 64),
    ],
)
def test_the_recipe_is_the_models_own(given, model, loss, batch):
    config = tpu_plan.configuration(arguments(*given))
    assert (config.model, config.loss, config.batch_size) == (model, loss, batch)
    assert config.precision == "mixed_bfloat16"
    assert not config.remat
    assert config.tpu_scoped_vmem == (98304 if model == "MLPMixerB16" else None)


def test_variants_have_the_rates_of_their_own_recipe():
    rates = [
        tpu_plan.configuration(arguments("--model", name)).drop_path_rate
        for name in ("SMLPNetT", "SMLPNetS", "SMLPNetB")
    ]
    assert rates == [0.0, 0.2, 0.3]


def test_settings_override_the_recipe():
    given = (
        "--precision",
        "float32",
        "--remat",
        "--gradient-accumulation-steps",
        "2",
        "--image-size",
        "32",
    )
    given += ("--tpu-scoped-vmem", "0")
    options = ("--model", "S2MLP", "--model-options", "patch_size=4", "hidden_dim=8")
    config = tpu_plan.configuration(
        arguments(*given, *options, "num_blocks=1", "channels_mlp_dim=8")
    )
    assert (config.precision, config.remat, config.gradient_accumulation_steps) == (
        "float32",
        True,
        2,
    )
    assert config.image_size == 32
    assert config.tpu_scoped_vmem is None
    assert config.model_arguments()["patch_size"] == 4


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--model", "MLPMixerB61"), "Did you mean MLPMixerB16"),
        (("--recipe", "mixer_b61"), "Did you mean mixer_b16"),
        (("--model", "S2MLP"), "needs --model-options for patch_size"),
        (("--model", "S2MLP"), "; S2MLPWide and S2MLPDeep need none."),
        (("--model-options", "depth=3"), "Received: depth"),
        (("--batch-size", "0"), "--batch-size must be greater than 0"),
        (
            ("--tpu-scoped-vmem", "1"),
            "--tpu-scoped-vmem must be greater than or equal to 2048, or None. Received: 1$",
        ),
        (
            ("--tpu-scoped-vmem", "131073"),
            "--tpu-scoped-vmem must be less than or equal to 131072, or None",
        ),
        (
            ("--batch-size", "128", "--gradient-accumulation-steps", "3"),
            "a divisor of --batch-size 128",
        ),
        (
            ("--find-batch", "--gradient-accumulation-steps", "0"),
            "--gradient-accumulation-steps must be greater than 0",
        ),
    ],
)
def test_bad_settings_are_one_sentence(given, words):
    with pytest.raises(RunError, match=words) as raised:
        tpu_plan.configuration(arguments(*given))
    assert raised.value.status == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--classes", "0"), "at least 1"),
        (("--tpu-scoped-vmem", "-5"), "0 or more KiB. Received: -5"),
        (("--batch-size", "16777217"), "at most 16777216. Received: 16777217"),
        (("--tpu-scoped-vmem", "0", "--topology", "v4:2x2x1"), "needs v5e"),
        (("--tpu-scoped-vmem", "0", "--backend", "tensorflow"), "needs v5e"),
    ],
)
def test_bad_flags_are_refused_before_anything_is_compiled(given, words, capsys):
    with pytest.raises(SystemExit) as stop:
        arguments(*given)
    assert stop.value.code == 2
    assert re.search(words, capsys.readouterr().err)


def test_no_such_slice():
    done = run(*TPU_PLAN, "--topology", "v5e:0x4")
    assert done.returncode == 2
    assert "--topology must have a shape that v5e comes in" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_batch_that_does_not_divide():
    done = run(*TPU_PLAN, "--topology", "v5e:4x4", "--batch-size", "40")
    assert done.returncode == 2
    assert "multiple of 32" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("path", ["a.jpg", "missing/a.png"])
def test_a_image_that_cannot_be_written_is_refused_at_once(path, tmp_path, compiled_with_room):
    compiled_with_room(0)
    with pytest.raises(UsageError, match=r"^--figure must be "):
        tpu_plan.run(arguments("--figure", str(tmp_path / path)))


def test_the_plan_is_printed_before_the_image_is_drawn(
    tmp_path, compiled_with_room, monkeypatch, capsys
):
    compiled_with_room(2000)

    def full(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr(plan_report, "draw", full)
    with pytest.raises(OSError, match="No space"):  # main makes a sentence of it.
        tpu_plan.run(arguments("--figure", str(tmp_path / "a.png")))
    assert "bounds, not measurements" in capsys.readouterr().out


@pytest.mark.parametrize(("topology", "backend"), [("v4:2x2x1", "jax"), ("v5e:2x2", "tensorflow")])
def test_vmem_is_set_where_it_can_be(topology, backend):
    given = arguments("--recipe", "mixer_b16", "--topology", topology, "--backend", backend)
    assert tpu_plan.configuration(given).tpu_scoped_vmem is None


def test_vmem_that_is_set_elsewhere(monkeypatch, capsys):
    monkeypatch.setenv("LIBTPU_INIT_ARGS", "--xla_tpu_scoped_vmem_limit_kib=32768")
    assert tpu_plan.configuration(arguments("--recipe", "mixer_b16")).tpu_scoped_vmem is None
    with pytest.raises(SystemExit):
        arguments("--tpu-scoped-vmem", "65536")
    assert "no limit in LIBTPU_INIT_ARGS. Received: " in capsys.readouterr().err


def test_a_image_that_cannot_be_written_is_status_2(monkeypatch, capsys):
    def run(args):
        raise OSError("No space left on device")

    monkeypatch.setattr(tpu_plan, "run", run)
    monkeypatch.setattr(tpu_plan.cli, "prepare", lambda *args, **kwargs: None)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    assert tpu_plan.main([]) == 2
    assert "a file cannot be written: No space left" in capsys.readouterr().err


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "flags", [("--image-size", "800000"), *extended((("--classes", "1000000000000"),))]
)
def test_a_model_that_cannot_be_built_is_one_sentence(flags):
    given = [f"{name}={value}" for name, value in compile.MODELS["MLPMixer"].items()]
    done = run(
        *(
            "-m",
            "keras_mixers.commands",
            "tpu-plan",
            "--model",
            "MLPMixer",
            "--model-options",
            *given,
        ),
        *("--topology", "v5e:2x2", "--image-size", "64", *flags),
    )
    assert done.returncode == 2
    assert "--model MLPMixer cannot be built with --image-size " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_libtpu_that_cannot_be_loaded(tmp_path, monkeypatch):
    monkeypatch.delenv("TPU_LIBRARY_PATH", raising=False)  # Set by what is loaded here.
    (tmp_path / "libtpu").mkdir()
    (tmp_path / "libtpu" / "__init__.py").write_text("raise ImportError('of another machine')")
    done = run(*TPU_PLAN, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "libtpu is there but cannot be loaded; fix it by: pip install" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_libtpu(monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "libtpu" else find(name)
    )
    with pytest.raises(SystemExit) as stop:
        tpu_plan.main([])
    assert stop.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "libtpu" in line]
    assert 'pip install "keras_mixers[plan]"' in line


@pytest.fixture
def slice_with_room():
    """Returns a function that makes `attempt` for a chip with room for so many images."""

    def make(room, fixed=0.1):
        tried = []

        def attempt(images):
            tried.append(images)
            needed = fixed + (1 - fixed) * images / room
            if images > room:
                raise DoesNotFitError(needed, 1.0)
            return dataclasses.replace(PLAN, memory={"all": needed}, capacity=1.0)

        return attempt, tried

    return make


@pytest.mark.parametrize("room", [8, 9, 100, 128, 500, 5000])
@pytest.mark.parametrize("start", [1, 64, 4096])
@pytest.mark.parametrize("fixed", [0.0, 0.1, 0.6, 0.95])
def test_the_largest_batch(slice_with_room, room, start, fixed):
    attempt, tried = slice_with_room(room, fixed)
    found = compilation.largest(attempt, start, 8)
    best = max(images for images in tried if images <= room)
    assert best > room * 15 / 16 - 8
    assert found.memory["all"] == pytest.approx(fixed + (1 - fixed) * best / room)
    assert len(tried) == len(set(tried)) <= 10


def test_no_batch_fits(slice_with_room):
    attempt, _ = slice_with_room(4)
    with pytest.raises(DoesNotFitError):
        compilation.largest(attempt, 64, 8)


@pytest.fixture
def compiled_with_room(monkeypatch):
    """Returns a function that lets chips hold so many images."""

    def make(room):
        def compile_step(config, classes, chips, backend):
            if config.batch_size > 4 * room:
                raise DoesNotFitError(20e9, 16e9)
            return config.batch_size

        def made(step, batch_size, kind, chips):
            assert step == batch_size
            return dataclasses.replace(PLAN, images=batch_size // chips, capacity=8e9)

        fake = argparse.Namespace(chips_of=lambda _: [None] * 4)
        monkeypatch.setitem(sys.modules, "keras_mixers.tpu.compiled_step", fake)
        monkeypatch.setattr(keras_mixers.tpu, "compiled_step", fake, raising=False)
        monkeypatch.setattr(compilation, "compile_step", compile_step)
        monkeypatch.setattr(plan, "plan", made)

    return make


def test_what_is_printed_is_the_batch_that_was_found(compiled_with_room, capsys):
    compiled_with_room(100)
    assert tpu_plan.run(arguments("--find-batch", "--batch-size", "2048")) == 0
    assert "384 images of 224 x 224 a step, 96 a chip" in capsys.readouterr().out


def test_a_batch_found_for_accumulation_divides(compiled_with_room, capsys):
    compiled_with_room(80)
    assert (
        tpu_plan.run(
            arguments("--find-batch", "--gradient-accumulation-steps", "3", "--batch-size", "383")
        )
        == 0
    )
    assert "288 images of 224 x 224 a step in 3 parts, 72 a chip" in capsys.readouterr().out


def test_a_step_that_does_not_fit_is_status_1(compiled_with_room, capsys):
    compiled_with_room(100)
    assert tpu_plan.run(arguments("--batch-size", "512")) == 1
    text = capsys.readouterr().out
    assert "a step of 512 images needs at least 20.00 GB" in text
    assert "--find-batch" in text


def test_not_even_the_smallest_batch(compiled_with_room, capsys):
    compiled_with_room(7)
    assert tpu_plan.run(arguments("--find-batch", "--batch-size", "512")) == 1
    text = capsys.readouterr().out
    assert "a step of 32 images needs at least 20.00 GB" in text
    assert "--batch-size" not in text


PLAN = plan.Plan(
    chips=4,
    images=32,
    memory={"parameters": 1e9, "optimizer state": 2e9, "average of the weights": 0, "program": 1e8},
    capacity=16e9,
    flops=2e12,
    traffic=4e9,
    accessed_by_xla=9e9,
    exchanged=1e9,
    bounds={"arithmetic": 0.010, "memory traffic": 0.020, "interconnect": 0.005},
    largest_traffic={f"layer_{i}, forward": 4e9 / 16 for i in range(16)},
    repeated=0,
)


def about(**changes):
    config = tpu_plan.configuration(arguments("--batch-size", "128"))
    return plan_report.About(dataclasses.replace(config, **changes), "v5e:2x2", "jax")


def test_bounds():
    assert PLAN.bound == "memory traffic"
    assert PLAN.images_per_second == 4 * 32 / 0.020
    assert PLAN.share_of_peak == 0.5


def test_small_numbers_keep_two_digits():
    small = dataclasses.replace(PLAN, flops=2.34e9, bounds=dict.fromkeys(PLAN.bounds, 1.234e-5))
    text = plan_report.tables(about(), small)
    assert "0.0023 TFLOP at 197" in text
    assert "a step takes 0.012 ms or more" in text


def test_tables():
    text = plan_report.tables(about(tpu_scoped_vmem=None), PLAN)
    for words in (
        "MLPMixerB16: 128 images of 224 x 224 a step, 32 a chip, on v5e:2x2 (4 chips)",
        "| together           |  3.10 |     19% |",
        "| a program may have | 16.00 |    100% |",
        "| memory traffic     |             4.00 GB at 819 GB/s |           20.0 |",
        "| interconnect       | 1.00 GB all-reduced at 200 GB/s |            5.0 |",
        "|           20.0 |",
        "6,400 images/s or fewer, at up to 50% of its peak",
        "bounds, not measurements",
        "| all others        | 1.00 |   25.0% |",
        CHIPS["v5e"].source,
    ):
        assert words in text, text
    for words in ("average of the weights", "computed twice", "of VMEM", "does not show"):
        assert words not in text
    assert "(XLA's own count is 9.00 GB, 11.0 ms:" in text


def test_tables_say_what_was_set():
    text = plan_report.tables(
        about(remat=True, tpu_scoped_vmem=65536, gradient_accumulation_steps=2), PLAN
    )
    assert "a step in 2 parts, 32 a chip" in text
    assert "adamw, residuals computed twice, 65,536 KiB of VMEM; traced by JAX" in text
    assert "(XLA's own count is 9.00 GB for a part of the batch, 11.0 ms:" in text
    on_tensorflow = about(gradient_accumulation_steps=2)._replace(backend="tensorflow")
    assert "XLA's own count is 9.00 GB, 11" in plan_report.tables(on_tensorflow, PLAN)
    text = plan_report.tables(about()._replace(backend="tensorflow"), PLAN)
    assert "traced by TensorFlow" in text
    assert "TensorFlow does not show the all-reduce." in text


def test_what_moves_next_to_nothing_is_summed():
    some = dataclasses.replace(
        PLAN, largest_traffic={"much": 3.9e9, "some": 0.083e9, "a": 9e6, "b": 8e6}
    )
    text = plan_report.tables(about(model_options=("num_blocks=2",)), some)
    assert "| some             | 0.08 |    2.1% |" in text
    assert "| all others       | 0.02 |    0.4% |" in text
    assert "MLPMixerB16(num_blocks=2): 128 images" in text


def test_what_the_compiler_does_twice_is_said():
    assert "second time" not in plan_report.tables(about(), PLAN)
    text = plan_report.tables(about(), dataclasses.replace(PLAN, repeated=7))
    assert "the compiler does 7 operations a second time" in text


def test_json_has_everything():
    found = json.loads(plan_report.as_json(about(), PLAN))
    assert found["images_per_second"] == 6400
    assert found["fits"] is True
    assert (found["model"], found["topology"], found["backend"]) == (
        "MLPMixerB16",
        "v5e:2x2",
        "jax",
    )
    assert found["config"]["batch_size"] == 128
    assert set(dataclasses.asdict(PLAN)) <= set(found)


def test_what_helps_where_it_does_not_fit():
    error = DoesNotFitError(20e9, 16e9)
    text = plan_report.too_large(about(precision="float32"), error, as_json=False)
    assert "needs at least 20.00 GB of a chip's 16.00 GB, 4.00 GB too much" in text
    for help_ in (
        "--precision mixed_bfloat16",
        "--remat",
        "--batch-size",
        "--gradient-accumulation-steps",
    ):
        assert help_ in text
    assert text.endswith(", a larger slice.")
    text = plan_report.too_large(about(), error, as_json=False, smallest=True)
    assert text.endswith("What helps: --remat, a chip with more.")
    text = plan_report.too_large(about(remat=True), error, as_json=False)
    assert "--remat" not in text
    assert "--precision" not in text
    found = json.loads(plan_report.too_large(about(), error, as_json=True))
    assert (found["fits"], found["needed"], found["available"]) == (False, 20e9, 16e9)
    assert (found["model"], found["config"]["batch_size"]) == ("MLPMixerB16", 128)


def test_image(tmp_path, monkeypatch):
    """The bars of memory stand side by side; of those of traffic the largest is on top."""
    figures = []
    monkeypatch.setattr(pyplot, "close", figures.append)
    path = tmp_path / "plan.png"
    largest_traffic = {"much": 3e9, "some": 0.9e9, "little": 1e5}
    plan_report.draw(about(), dataclasses.replace(PLAN, largest_traffic=largest_traffic), path)
    with Image.open(path) as image:
        assert image.size[0] > 800
    memory, traffic = figures[0].axes
    ends = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in memory.patches]
    assert ends == [pytest.approx(end) for end in ((0, 1), (1, 3), (3, 3.1))]
    assert [bar.get_width() for bar in traffic.patches] == pytest.approx([0.1, 0.9, 3.0])
    names = [label.get_text() for label in traffic.get_yticklabels()]
    assert names == ["all others", "some", "much"]
    assert traffic.get_title() == "bytes moved in a step: 4.00 GB"
