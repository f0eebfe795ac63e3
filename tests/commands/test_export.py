import errno
import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_mixers
from keras_mixers.commands import export as export_tool
from keras_mixers.evaluation.litert import LiteRTModel
from keras_mixers.export import comparison, tflite
from keras_mixers.export.exporter import export
from keras_mixers.export.saved_model import SavedModel
from keras_mixers.export.tflite import TFLite
from tests import reference
from tests.helpers import commands
from tests.helpers.sampling import extended, sampled
from tests.models.small import FAMILIES, SHORT, build

pytestmark = pytest.mark.tensorflow

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def saved(tmp_path, rng):
    """A small trained-looking model and its .keras file."""
    model = build("s2_mlp", classifier_activation=None, **SHORT["s2_mlp"])
    reference.randomize(model, rng)
    path = tmp_path / "small.keras"
    model.save(path)
    return model, path


def refuse(arguments, capsys):
    return commands.refuse(export_tool.main, arguments, capsys)


def run_tool(capsys, *arguments):
    """Runs the command; returns its status, its table as a dict and its standard error."""
    capsys.readouterr()
    status = export_tool.main([str(argument) for argument in arguments])
    out, error = capsys.readouterr()
    assert "Traceback" not in error
    return status, out, error


@pytest.mark.parametrize(("kind", "family"), sampled((TFLite(), SavedModel()), FAMILIES))
def test_agrees_for_every_family(family, kind, rng, tmp_path):
    model = build(family, classifier_activation=None, **SHORT[family])
    reference.randomize(model, rng)
    path = tmp_path / "model"
    result = export(model, path, kind)
    assert result.agrees
    assert result.comparison.is_telling
    assert result.size > 3.8 * model.count_params()
    assert result.comparison.largest_difference < 1e-5 * result.comparison.largest_output
    assert [p for p in tmp_path.iterdir() if p != path] == []  # no scratch folder is left
    assert result.partitions == (1 if kind.name == "tflite" else None)


@pytest.mark.parametrize("family", ["smlpnet", *extended("mlp_mixer", "s2_mlp")])
@pytest.mark.parametrize(
    "policy", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.slow)]
)
def test_mixed_precision_becomes_float32(family, policy, rng, tmp_path):
    options = dict(classifier_activation=None) | SHORT[family]
    plain = build(family, **options)
    reference.randomize(plain, rng)
    keras.config.set_dtype_policy(policy)
    model = build(family, **options)
    keras.config.set_dtype_policy("float32")
    model.set_weights(plain.get_weights())
    result = export(model, tmp_path / "m.tflite", TFLite())
    assert result.agrees
    assert result.partitions == 1
    x = rng.normal(size=(2, *model.input_shape[1:])).astype("float32")
    got = LiteRTModel(result.path).predict(x)
    np.testing.assert_allclose(got, plain.predict(x, verbose=0), atol=1e-5)


def test_command_writes_and_prints(saved, tmp_path, capsys):
    model, path = saved
    out = tmp_path / "out"
    assert export_tool.main([str(path), str(out), "--format", "tflite"]) == 0
    printed = capsys.readouterr().out
    for line in ("largest difference", "delegate partitions   1", "small.tflite"):
        assert line in printed
    assert [p.name for p in out.iterdir()] == ["small.tflite"]
    x = np.random.default_rng(1).normal(size=(3, *model.input_shape[1:])).astype("float32")
    got = LiteRTModel(out / "small.tflite").predict(x)
    np.testing.assert_allclose(got, model.predict(x, verbose=0), atol=1e-5)


@pytest.mark.extended
def test_saved_model_runs_without_keras_mixers(saved, tmp_path, rng):
    model, path = saved
    assert export_tool.main([str(path), str(tmp_path / "out"), "--format", "savedmodel"]) == 0
    x = rng.normal(size=(1, *model.input_shape[1:])).astype("float32")
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, numpy as np, tensorflow as tf; folder, x, y = sys.argv[1:]; "
        "loaded = tf.saved_model.load(folder); np.save(y, loaded.serve(np.load(x)).numpy()); "
        "assert 'keras_mixers' not in sys.modules"
    )
    arguments = [tmp_path / "out" / "small", tmp_path / "x.npy", tmp_path / "y.npy"]
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True, cwd=tmp_path)
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, atol=1e-5)


def test_batch_size(saved, tmp_path):
    model, _ = saved
    result = export(model, tmp_path / "m.tflite", TFLite(batch_size=3))
    runner = LiteRTModel(result.path)
    assert result.agrees
    assert runner.batch_size == 3
    with pytest.raises(
        ValueError, match=r"multiple of the file's batch size, 3\. Received: 4 images"
    ):
        runner.predict(np.zeros((4, *model.input_shape[1:]), "float32"))


def test_a_file_that_disagrees_has_status_1(saved, tmp_path, capsys, monkeypatch):
    _, path = saved

    monkeypatch.setattr(tflite.folding, "fold", lambda model, _: keras.models.clone_model(model))
    assert export_tool.main([str(path), str(tmp_path / "out"), "--format", "tflite"]) == 1
    assert "differs from the original by more than rounding" in capsys.readouterr().out
    assert list((tmp_path / "out").iterdir()) == []  # Nor does it replace an earlier good one.


def test_an_erf_for_a_tanh_is_found(rng, tmp_path, monkeypatch):
    """The tolerance is fine enough to tell the two GELUs apart."""
    options = dict(classifier_activation=None) | SHORT["mlp_mixer"]
    model = build("mlp_mixer", **options)
    reference.randomize(model, rng)

    other = build("mlp_mixer", activation="gelu", **options)
    other.set_weights(model.get_weights())
    monkeypatch.setattr(tflite.folding, "fold", lambda *_: other)
    assert not export(model, tmp_path / "m.tflite", TFLite()).agrees


def test_an_untrained_mixer_is_said_to_prove_nothing(tmp_path, capsys):
    """Its head starts at zero: every output is the same, and any file would agree."""
    build("mlp_mixer", **SHORT["mlp_mixer"]).save(tmp_path / "m.keras")
    assert export_tool.main([str(tmp_path / "m.keras"), str(tmp_path), "--format", "tflite"]) == 0
    assert "is it untrained?" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file_format", "name"),
    [("savedmodel", "small"), *extended(("tflite", "small.tflite"))],
)
def test_an_earlier_result_is_kept_unless_told_otherwise(
    file_format, name, saved, tmp_path, capsys
):
    _, path = saved
    command = [str(path), str(tmp_path / "out"), "--format", file_format]
    assert export_tool.main(command) == 0
    assert f"{name} exists: choose another folder or pass --overwrite" in refuse(command, capsys)
    assert export_tool.main([*command, "--overwrite"]) == 0


def test_what_cannot_be_used_is_refused_in_one_sentence(saved, tmp_path, capsys):
    _, path = saved
    out = tmp_path / "out"
    tflite = ("--format", "tflite")
    assert f"nothing at {tmp_path / 'no.keras'}" in refuse(
        [tmp_path / "no.keras", out, *tflite], capsys
    )
    assert f"The folder {out.parent} holds neither" in refuse([tmp_path, out, *tflite], capsys)
    text = tmp_path / "text.keras"
    text.write_text("no model")
    assert f"Received {text}: File not found" in refuse([text, out, *tflite], capsys)
    assert "invalid choice: 'onnx'" in refuse([path, out, "--format", "onnx"], capsys)
    assert "must be from 1 to " in refuse([path, out, *tflite, "--batch-size", 0], capsys)
    assert "must be a folder" in refuse([path, text, *tflite], capsys)
    any_size = tmp_path / "any.keras"
    build("s2_mlp", input_shape=(None, None, 3)).save(any_size)
    assert "must have a fixed image size" in refuse([any_size, out, *tflite], capsys)
    assert not out.exists() or list(out.iterdir()) == []


def test_code_in_a_file_is_not_run(tmp_path, capsys):
    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.Lambda(lambda x: x + 1)(inputs)
    keras.Model(inputs, outputs).save(tmp_path / "code.keras")
    sentence = refuse([tmp_path / "code.keras", tmp_path / "out", "--format", "tflite"], capsys)
    assert "Lambda" in sentence


def test_a_folder_that_is_no_saved_model_is_never_replaced(saved, tmp_path, capsys):
    _, path = saved
    precious = tmp_path / "out" / "small" / "precious.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    command = [path, tmp_path / "out", "--format", "savedmodel", "--overwrite"]
    assert "will not be replaced" in refuse(command, capsys)
    assert precious.read_text() == "mine"


def test_models_that_cannot_be_exported(tmp_path, capsys):
    inputs = keras.Input((8, 8, 3))
    two = keras.Model(inputs, [inputs + 1, inputs * 2])
    two.save(tmp_path / "two.keras")
    tflite = ("--format", "tflite")
    sentence = refuse([tmp_path / "two.keras", tmp_path / "out", *tflite], capsys)
    assert "it must be a built model with one input and one output" in sentence
    keras.Model(inputs, keras.ops.erfinv(inputs)).save(tmp_path / "odd.keras")
    sentence = refuse([tmp_path / "odd.keras", tmp_path / "out", *tflite], capsys)
    assert "MODEL must be made of what LiteRT has operators for. It uses: Erfinv: " in sentence
    with pytest.warns(UserWarning, match="has not yet been built"):
        keras.Sequential([keras.layers.Dense(3)]).save(tmp_path / "unbuilt.keras")
    sentence = refuse([tmp_path / "unbuilt.keras", tmp_path / "out", *tflite], capsys)
    assert "it must be a built model with one input" in sentence


def test_help_examples_parse(tmp_path, monkeypatch, capsys):
    example = re.compile("keras-mixers export (.*)")
    arguments = [shlex.split(line) for line in example.findall(export_tool.__doc__)]
    assert len(arguments) == 4
    monkeypatch.chdir(tmp_path)
    targets = [str(export_tool._parse(words)[1].target) for words in arguments]
    assert targets == [
        "out/smlpnet.tflite",
        "out/smlpnet-int8.tflite",
        "out/smlpnet-int8-full.tflite",
        "out/model",
    ]


# At the images' real size, with fewer blocks: the conversion of a whole model takes 20 seconds.
AT_224 = {
    "MLPMixerB16": lambda: keras_mixers.MLPMixerB16(num_blocks=1),
    "S2MLPDeep": lambda: keras_mixers.S2MLPDeep(num_blocks=2),
    "SMLPNetT": lambda: keras_mixers.SMLPNetT(depths=(1, 1, 1, 1)),
}


def one_delegate(model, path, rng):
    head = model.get_layer("head")
    head.set_weights([rng.normal(0, 0.05, weight.shape) for weight in head.weights])
    result = export(model, path, TFLite())
    assert result.agrees
    assert result.comparison.is_telling
    assert result.comparison.largest_difference < comparison.TOLERANCE * result.comparison.spread
    assert result.partitions == 1
    assert LiteRTModel(path).fully_delegated


@pytest.mark.parametrize("name", ["S2MLPDeep", *extended("MLPMixerB16", "SMLPNetT")])
def test_one_delegate_node_at_224(name, rng, tmp_path):
    one_delegate(AT_224[name](), tmp_path / "m.tflite", rng)


@pytest.mark.slow
@pytest.mark.parametrize(
    "variant",
    [variant for family in keras_mixers.VARIANTS.values() for variant in family],
    ids=lambda variant: variant.__name__,
)
def test_one_delegate_node_for_every_whole_variant(variant, rng, tmp_path):
    one_delegate(variant(classifier_activation=None), tmp_path / "m.tflite", rng)


@pytest.mark.parametrize(("first", "partitions"), [(True, 2), (False, 1)])
def test_a_graph_in_pieces_is_counted_so(first, partitions, tmp_path, rng):
    """An operation without an XNNPACK kernel, between two convolutions or before the only one."""
    inputs = x = keras.Input((8, 8, 4))
    if first:
        x = keras.layers.Conv2D(4, 1)(x)
    x = keras.layers.Lambda(lambda x: keras.ops.floor(keras.ops.cumsum(x, axis=1)))(x)
    model = keras.Model(inputs, keras.layers.Conv2D(4, 1)(x))
    result = export(model, tmp_path / "m.tflite", TFLite())
    assert result.partitions == partitions
    assert not LiteRTModel(tmp_path / "m.tflite").fully_delegated


def test_eight_bits_without_images_are_refused(saved, tmp_path, capsys):
    _, path = saved
    for precision in ("int8", "int8-full"):
        sentence = refuse([path, tmp_path / "out", "--precision", precision], capsys)
        assert f"--precision {precision} needs images: give --data" in sentence
    sentence = refuse([path, tmp_path / "out", "--min-agreement", 0.9], capsys)
    assert "--min-agreement needs images: give --data" in sentence
    assert not (tmp_path / "out").exists()


def test_a_disk_that_is_too_small_is_refused_at_once(saved, tmp_path, capsys, monkeypatch):
    _, path = saved
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(TFLite, "write", lambda *_: pytest.fail("it was tried"))
    sentence = refuse([path, tmp_path / "out"], capsys)
    assert "MB free for the export; it has 0.0 MB: make room, or choose another folder" in sentence


def test_a_disk_that_fills_up_leaves_nothing(saved, tmp_path, capsys, monkeypatch):
    _, path = saved

    def write(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", write)
    assert "No space left on device" in refuse([path, tmp_path / "out"], capsys)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_model_that_is_not_ours(tmp_path, capsys):
    """Any that Keras can export: of other channels, sides, and without classes."""
    inputs = keras.Input((8, 6, 4))
    keras.Model(inputs, keras.layers.Conv2D(3, 3)(inputs)).save(tmp_path / "other.keras")
    status, out, _ = run_tool(capsys, tmp_path / "other.keras", tmp_path / "out")
    assert status == 0
    assert "8 random images" in out
    sentence = refuse([tmp_path / "other.keras", tmp_path / "b", "--data", "digits"], capsys)
    assert "--data digits is for models of images with 1 channel" in sentence


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MLPMixerB16", "S2MLPDeep", "SMLPNetT"])
def test_every_precision_at_224(name, tmp_path, rng):
    model = getattr(keras_mixers, name)(classifier_activation=None)
    head = model.get_layer("head")
    head.set_weights([rng.normal(0, 0.05, weight.shape) for weight in head.weights])
    images = rng.uniform(0, 255, (4, 224, 224, 3)).astype("float32")
    for precision in ("float16", "dynamic", "int8", "int8-full"):
        kind = TFLite(precision, calibration=lambda: [images])
        result = export(model, tmp_path / "m.tflite", kind)
        if precision != "int8-full":
            assert result.partitions == 1, precision
            assert LiteRTModel(result.path).fully_delegated, precision
        if precision.startswith("int8"):
            assert result.operators["int8"][1] >= 0.99


@pytest.fixture
def digits_run(tmp_path):
    """A run's folder as keras-mixers digits leaves it, of a model that has learned nothing."""
    folder = tmp_path / "run"
    folder.mkdir()
    build("mlp_mixer", input_shape=(8, 8, 1), classes=10).save(folder / "model.keras")
    about = {"data": "digits", "image_size": 8, "mean": [0.5], "std": [0.5]}
    (folder / "config.json").write_text(json.dumps(about))
    return folder


def test_a_run_with_the_labels_of_another_is_refused(digits_run, tmp_path, capsys):
    (digits_run / "labels.txt").write_text("a\nb\n")
    sentence = refuse([digits_run, tmp_path / "out"], capsys)
    assert "must have a name for each of its 10 classes; it has 2" in sentence


@pytest.mark.parametrize("option", ["--split", "--calibration-split"])
def test_a_split_that_does_not_exist_is_refused(option, digits_run, tmp_path, capsys):
    command = [digits_run, tmp_path / "out", "--precision", "int8", option, "bogus"]
    assert f"{option} of digits must be one of train, " in refuse(command, capsys)
    command = [digits_run, tmp_path / "out", "--split", "bogus"]
    assert "--split of digits must be one of train, " in refuse(command, capsys)


def test_options_that_would_do_nothing_are_refused(saved, tmp_path, capsys):
    _, path = saved
    out = tmp_path / "out"
    for option in ("--threads", "--calibration-images", "--calibration-split"):
        command = [path, out, "--format", "savedmodel", option, "3"]
        assert f"{option}: is not for --format savedmodel" in refuse(command, capsys)
    assert "--top-k: is not for --format tflite" in refuse([path, out, "--top-k", 3], capsys)
    few = ["--precision", "int8", "--batch-size", 8, "--calibration-images", 7]
    assert "must be at least --batch-size, 8. Received: 7" in refuse([path, out, *few], capsys)
    assert "from 1 to 256. Received: 257" in refuse([path, out, "--threads", 257], capsys)
    assert "--labels must be a text file" in refuse([path, out, "--labels", ""], capsys)


def test_a_file_is_timed_by_the_threads_asked_for(saved, tmp_path, capsys, monkeypatch):
    _, path = saved
    asked = []

    class Timed(LiteRTModel):
        def __init__(self, path, num_threads=None):
            asked.append(num_threads)
            super().__init__(path, num_threads)

        def seconds(self, runs):
            return [0.002, 0.001, 0.004]

    monkeypatch.setattr(tflite, "LiteRTModel", Timed)
    assert export_tool.main([str(path), str(tmp_path / "out"), "--threads", "3"]) == 0
    assert "2 ms, 1 to 4 (3 threads)" in capsys.readouterr().out
    assert asked == [3]


def test_an_interrupted_export_leaves_nothing(saved, tmp_path, capsys, monkeypatch):
    _, path = saved
    out = tmp_path / "out"

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(tflite.TFLite, "load", interrupted)
    assert export_tool.main([str(path), str(out)]) == 130
    assert capsys.readouterr().err.endswith("keras-mixers export: stopped; nothing was written\n")
    assert list(out.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_named(saved, tmp_path, capsys):
    _, path = saved
    (tmp_path / "file").write_text("")
    sentence = refuse([path, tmp_path / "file" / "out"], capsys)
    assert f"OUT must be a folder that can be written to. Received: {tmp_path}/file/out" in sentence
    sentence = refuse([path, "/proc/nothing/out"], capsys)  # Where nobody can make a folder.
    assert "OUT must be a folder that can be written to. Received: /proc/nothing/out" in sentence


def test_what_cannot_be_converted_is_said_in_one_line(tmp_path, capfd):
    inputs = keras.Input((8, 8, 3))
    keras.Model(inputs, keras.ops.erfinv(inputs)).save(tmp_path / "odd.keras")
    assert export_tool.main([str(tmp_path / "odd.keras"), str(tmp_path / "out")]) == 2
    assert "loc(" not in capfd.readouterr().err


def test_a_model_with_lora_is_exported_as_it_computes(rng, tmp_path):
    """Its config does not say these weights, so that nothing can be folded."""
    model = build("mlp_mixer", num_blocks=1, classifier_activation=None)
    dense = model.get_layer("block_0_token_mixing").fc1
    dense.enable_lora(2)
    reference.randomize(model, rng)
    x = rng.normal(size=(2, *model.input_shape[1:])).astype("float32")
    expected = np.asarray(model(x))
    assert export(model, tmp_path / "m.tflite", TFLite()).agrees
    np.testing.assert_allclose(LiteRTModel(tmp_path / "m.tflite").predict(x), expected, atol=1e-4)


def test_a_config_of_another_tool_beside_a_model_is_not_a_runs(saved, tmp_path, capsys):
    """As timm's, beside weights that were converted in the folder they came in."""
    _, path = saved
    about = {"architecture": "mixer_b16_224", "image_size": 224, "pretrained_cfg": {}}
    (path.parent / "config.json").write_text(json.dumps(about))
    assert run_tool(capsys, path, tmp_path / "out")[0] == 0
    assert "architecture is no setting" in refuse(
        [path, tmp_path / "b", "--config", path.parent / "config.json"], capsys
    )
