"""The command, and what the trainer does for it: weights to begin with, freezing, decay."""

import contextlib
import csv
import dataclasses
import io
import json
import logging
import pathlib
import re
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_mixers
from keras_mixers.commands import finetune, imagenet
from keras_mixers.data.dataset import ImageData
from keras_mixers.data.sources import open_source
from keras_mixers.errors import UsageError
from keras_mixers.evaluation import exported, litert, loading, metrics, review
from keras_mixers.export import comparison
from keras_mixers.preprocessing import IMAGENET_MEAN, IMAGENET_STD, TO_ZERO_ONE
from keras_mixers.training import config as settings
from keras_mixers.training import distribution, fine_tuning, model, optimizers, plots
from keras_mixers.training import run as training_run
from keras_mixers.training.tensorflow_backend import TensorFlowEngine
from tests.helpers import image_files, losses
from tests.helpers.sampling import extended
from tests.helpers.train_command import SHORTER, SMALL, draw_nothing, run, size_of
from tests.training.test_backends import run_jax
from tests.weights import foreign
from tests.weights.test_foreign_files import write

pytestmark = [pytest.mark.tensorflow, pytest.mark.usefixtures("undrawn")]

MIXER = ("patch_size=8", "hidden_dim=16", "num_blocks=2", "tokens_mlp_dim=8", "channels_mlp_dim=16")
BLOCKS = ("--image-size", "32", "--resize", "block_diagonal")
BY_IMAGENET = ("--mean", *map(str, IMAGENET_MEAN), "--std", *map(str, IMAGENET_STD))
CONFIG = settings.TrainingConfig(model="MLPMixer", model_options=MIXER, image_size=24)
SMLPNET = settings.TrainingConfig(
    model="SMLPNet", model_options=("patch_size=2", "hidden_dim=6", "depths=(1,2,1)"), image_size=16
)

EXPECTS, NOT_SAID = " expects images of mean ", " does not say how its images are prepared"


def changed(config, **changes):
    return dataclasses.replace(config, **changes)


def test_depths_of_a_pyramid():
    built = model.build(SMLPNET, 3)
    found = {layer.name: depth for layer, depth in model.depths(built).items()}
    expected = {"stem": 0, "block_0_axial_add": 1, "stage_1_merging": 2, "block_1_axial_norm": 2}
    expected |= {"block_2_channel_add": 3, "stage_2_merging": 4, "block_3_depthwise_conv": 4}
    expected |= {"pre_head_batch_norm": 5, "head": 5}
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("config", "blocks", "frozen", "trained"),
    [
        (CONFIG, None, [], ["stem", "block_0_token_mixing", "pre_head_layer_norm", "head"]),
        (CONFIG, 2, ["stem"], ["block_0_token_mixing", "block_1_token_norm", "head"]),
        (CONFIG, 1, ["stem", "block_0_token_norm"], ["block_1_token_norm", "pre_head_layer_norm"]),
        (CONFIG, 0, ["stem", "block_1_channel_mixing", "pre_head_layer_norm"], ["head"]),
        (SMLPNET, 2, ["stage_1_merging", "block_1_axial_norm"], ["block_2_axial_norm", "head"]),
    ],
)
def test_blocks_that_are_trained(config, blocks, frozen, trained):
    built = model.build(changed(config, trained_blocks=blocks), 3)
    assert all(not built.get_layer(name).trainable_weights for name in frozen)
    for name in trained:
        layer = built.get_layer(name)
        weights = [weight for weight in layer.weights if "moving" not in weight.path]
        assert len(layer.trainable_weights) == len(weights) > 0


def test_what_is_frozen_stays_as_it_is_and_the_rest_moves():
    """Moving statistics of frozen norms too."""
    config = changed(
        losses.CONFIG,
        model="SMLPNet",
        model_options=("patch_size=2", "hidden_dim=8", "depths=(1,1)"),
    )
    config = changed(config, image_size=16, trained_blocks=1, drop_path_rate=0.2)
    engine = TensorFlowEngine(
        tf.distribute.get_strategy(), config, lambda: model.build(config, 5), 5
    )
    before = {weight.path: weight.numpy() for weight in engine.model.weights}
    losses.run(engine, config, steps=3)
    for weight in engine.model.weights:
        frozen = weight.path.startswith(("stem", "block_0"))
        assert np.array_equal(weight.numpy(), before[weight.path]) == frozen, weight.path


@pytest.mark.parametrize(
    ("optimizer", "replicas"),
    [
        ("adamw", 1),
        pytest.param("sgd", 2, marks=pytest.mark.extended),
        pytest.param("lamb", 1, marks=pytest.mark.slow),
        pytest.param("adamw", 2, marks=pytest.mark.slow),
    ],
)
def test_a_layer_takes_its_share_of_the_step(optimizer, replicas):
    cpus = (
        distribution.mirrored(("CPU:0", "CPU:1")) if replicas == 2 else tf.distribute.get_strategy()
    )
    losses.check_shares(
        lambda config: TensorFlowEngine(cpus, config, lambda: losses.build("smlpnet"), 5),
        optimizer=optimizer,
    )


@pytest.mark.slow
def test_a_layer_takes_its_share_of_the_step_on_jax():
    assert run_jax((("smlpnet", "shares"), {})) == ["compared"]


def test_sgd_is_that_of_the_papers():
    """Velocity 0.9 v - rate * gradient; decay on kernels, times the rate."""
    config = changed(
        losses.CONFIG, optimizer="sgd", learning_rate=0.5, weight_decay=0.1, beta_1=0.9
    )
    config = changed(config, final_learning_rate=0.5, schedule="linear")
    built = losses.build("mlp_mixer")
    optimizer = optimizers.optimizer(built, config, 1000)
    for weight in built.trainable_weights:
        weight.assign(np.ones(weight.shape))
    ones = [np.ones(weight.shape, "float32") for weight in built.trainable_weights]
    for _ in range(2):
        optimizer.apply(ones, built.trainable_weights)
    for weight in built.trainable_weights:
        # Keras decays first: (1 * 0.95 - 0.5) * 0.95 - (0.9 * 0.5 + 0.5).
        expected = (0.95 - 0.5) * 0.95 - 0.95 if weight.path.endswith("kernel") else -0.45
        np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-5, err_msg=weight.path)


@pytest.fixture(scope="module")
def earlier(folder, tmp_path_factory):
    """A run on ants, bees and cows."""
    out = tmp_path_factory.mktemp("earlier")
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch)
        assert run(folder, out, *SHORTER, *BY_IMAGENET) == 0
    return out


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Images of two other classes, without splits."""
    folder = tmp_path_factory.mktemp("others")
    for label, name in enumerate(("dog", "eel")):
        (folder / name).mkdir()
        for number in range(20):
            data = image_files.encode(image_files.colorful(label, number), quality=95)
            (folder / name / f"{number}.jpg").write_bytes(data)
    return folder


def tune(earlier, others, out, *arguments):
    command = ["--data", others, "--weights", earlier, "--out", out, "--epochs", "4"]
    command += ["--batch-size", "8", *arguments]
    return finetune.main([str(part) for part in command])


@dataclasses.dataclass(frozen=True)
class Tuned:
    """A run that began with `earlier`; it may be read, and copied to be changed."""

    out: pathlib.Path
    phones: pathlib.Path
    """Folder of its file for phones."""
    printed: str
    said: str
    """On standard error and in warnings."""


@pytest.fixture(scope="module")
def tuned(earlier, others, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    printed, said = io.StringIO(), io.StringIO()
    warnings = logging.StreamHandler(said)
    logging.getLogger().addHandler(warnings)
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
        status = tune(earlier, others, folder / "tuned", "--export", folder / "phones")
    logging.getLogger().removeHandler(warnings)
    assert status == 0
    return Tuned(folder / "tuned", folder / "phones", printed.getvalue(), said.getvalue())


@pytest.fixture
def copied(tuned, tmp_path):
    """The folder of a finished run that may be changed."""
    return shutil.copytree(tuned.out, tmp_path / "tuned")


@pytest.fixture
def unreviewed(monkeypatch):
    """Runs do not look at what they get wrong, which takes seconds."""
    monkeypatch.setattr(review, "review", lambda *_: None)


def test_from_a_run_to_a_file_for_phones(earlier, tuned):
    out = tuned.out
    config = settings.load(out / "config.json")
    # The model is the earlier one's, and so is how images are prepared.
    before = settings.load(earlier / "config.json")
    for name in ("model", "image_size", "mean", "std"):
        assert getattr(config, name) == getattr(before, name)
    assert (config.mean, config.std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert set(before.model_options) <= set(config.model_options)
    assert "32 images (train[:80%]) of 2 classes, validated on 8 (train[80%:])" in tuned.said
    assert "the head of 3 classes was left out; the model has a new head of 2" in tuned.said
    assert EXPECTS not in tuned.said
    assert NOT_SAID not in tuned.said
    trained = keras.models.load_model(out / "model.keras")
    assert (trained.preprocessing.mean, trained.preprocessing.std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert trained.output_shape == (None, 2)
    assert (out / "labels.txt").read_text() == "dog\neel\n"
    history = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    last = [line for line in history if line["kind"] == "epoch"][-1]
    assert re.search(rf"\| right +\| {last['val_accuracy']:.2%} of 8 images", tuned.printed)
    rows = list(csv.reader((out / "confusion.csv").read_text().splitlines()))
    assert rows[0] == ["truth", "dog", "eel"]
    matrix = np.array([row[1:] for row in rows[1:]], int)
    assert matrix.sum() == 8
    assert np.trace(matrix) / 8 == pytest.approx(last["val_accuracy"])
    assert size_of(out / "confusion.png") > 300
    assert size_of(out / "mistakes.png") > 200
    assert str(tuned.phones / "tuned.tflite") in tuned.printed
    assert (tuned.phones / "tuned.tflite").exists()


@pytest.mark.usefixtures("unreviewed")
def test_the_same_command_again_writes_the_file_again(earlier, others, copied, tmp_path, capsys):
    """It has nothing to train; another run's file of that name is left alone."""
    phones = tmp_path / "phones"
    phones.mkdir()
    (phones / "tuned.tflite").write_bytes(b"earlier")
    assert tune(earlier, others, copied, "--export", phones) == 0
    assert "Continuing after step 16 of 16" in capsys.readouterr().err
    assert exported.read_tflite(phones / "tuned.tflite")[1] == ["dog", "eel"]
    other = tmp_path / "other" / "tuned"
    assert tune(earlier, others, other, "--export", phones) == 2
    assert "tuned.tflite exists; give another folder" in capsys.readouterr().err
    assert not other.exists()


def trained_of(run, folder, **changes):
    """What training returns, of a finished run."""
    config = changed(settings.load(run / "config.json"), **changes)
    splits = (ImageData(open_source(str(folder), "", split)) for split in ("train", "validation"))
    return training_run.Trained(keras.models.load_model(run / "model.keras"), config, *splits)


@pytest.mark.parametrize("precision", ["int8", *extended("float32")])
def test_what_is_exported_is_the_model_in_memory(precision, finished, folder, tmp_path, capsys):
    """With its labels; nothing of a run folder is read."""
    trained = trained_of(finished, folder, out=str(tmp_path / "gone"))
    target = tmp_path / "phones" / "m.tflite"
    assert finetune._export(trained, target, precision) == 0
    assert f"12 images of {folder}, validation" in capsys.readouterr().out
    images = np.stack([image_files.colorful(label, 3, (24, 24)) for label in range(3)])
    images = images.astype("float32")
    assert litert.LiteRTModel(target).predict(images).argmax(axis=-1).tolist() == [0, 1, 2]
    about, labels = exported.read_tflite(target)
    assert (about["precision"], tuple(labels)) == (precision, image_files.CLASSES)
    assert not (tmp_path / "gone").exists()


@pytest.mark.usefixtures("unreviewed")
def test_a_file_that_disagrees_is_status_1_and_is_not_kept(
    earlier, others, copied, tmp_path, monkeypatch
):
    monkeypatch.setattr(comparison.Comparison, "is_rounding", False)
    assert tune(earlier, others, copied, "--export", tmp_path / "phones") == 1
    assert list((tmp_path / "phones").iterdir()) == []
    assert (copied / "model.keras").exists()


@pytest.mark.extended
def test_what_replicas_trained_is_reviewed_and_exported(finished, folder, tmp_path, capsys):
    command = ["--data", str(folder), "--weights", str(finished), "--epochs", "1"]
    command += ["--batch-size", "8", "--out", str(tmp_path / "run"), "--cpu-devices", "2"]
    assert finetune.main([*command, "--export", str(tmp_path / "phones")]) == 0
    assert "of 12 images" in capsys.readouterr().out
    assert (tmp_path / "phones" / "run.tflite").exists()


def test_what_is_shown_of_the_mistakes(monkeypatch, tmp_path, capsys):
    # Three ants, of which two are taken for cows; a cow taken for a bee.
    outputs = np.array([[9, 0, 0], [0, 0, 9], [0, 0, 7], [0, 5, 0]], "float32")
    result = metrics.Result(**metrics.judge(outputs, np.array([0, 0, 0, 2])), unreadable=())
    monkeypatch.setattr(metrics, "evaluate", lambda *_: result)
    figures = {}
    monkeypatch.setattr(plots, "_save", lambda figure, path: figures.update({path.name: figure}))

    class Images:
        class_names = ("ant", "bee", "cow $1$")

        def image(self, index, config):
            return np.full((4, 4, 3), index, "uint8")

    review.review(losses.build("mlp_mixer"), changed(CONFIG, out=str(tmp_path)), Images())
    rows = [["truth", "ant", "bee", "cow $1$"], ["ant", "1", "0", "2"], ["bee", "0", "0", "0"]]
    rows += [["cow $1$", "0", "1", "0"]]
    assert list(csv.reader((tmp_path / "confusion.csv").read_text().splitlines())) == rows
    printed = capsys.readouterr().out
    assert "25.00% of 4 images" in printed
    assert printed.index("2 x ant for cow $1$") < printed.index("1 x cow $1$ for bee")
    mistakes = figures["mistakes.png"].axes
    assert [axes.get_title() for axes in mistakes[:3]] == [
        "ant\nas cow $1$",
        "ant\nas cow $1$",
        "cow $1$\nas bee",
    ]
    assert [axes.images[0].get_array().max() for axes in mistakes[:3]] == [1, 2, 3]
    axes = figures["confusion.png"].axes[0]
    numbers = {text.get_position(): text.get_text() for text in axes.texts}
    assert numbers == {(0, 0): "1", (2, 0): "2", (1, 2): "1"}  # Columns, rows.
    shares = [[1 / 3, 0, 2 / 3], [0, 0, 0], [0, 1, 0]]
    np.testing.assert_allclose(axes.images[0].get_array(), shares)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ant", "bee", "cow $1$"]


def test_names_with_a_dollar_are_drawn_as_they_are(tmp_path):
    plots.draw_images([np.zeros((4, 4, 3), "uint8")], [r"a$\foo$b"], tmp_path / "a.png")
    assert size_of(tmp_path / "a.png") > 200


def test_defaults_are_those_of_the_paper_and_of_the_run(tmp_path):
    config = fine_tuning.defaults(None, None)
    assert (config.model, config.weights) == ("MLPMixerB16", "imagenet21k")
    wanted = dict(optimizer="sgd", learning_rate=0.03, clip_norm=1.0, schedule="cosine", epochs=20)
    wanted |= dict(beta_1=0.9, weight_decay=0.0, warmup_epochs=1.0, randaugment="none", mixup=0.0)
    for name, value in wanted.items():
        assert getattr(config, name) == value, name
    assert fine_tuning.defaults(None, None, epochs=1).warmup_epochs == 0.25
    run_of = dict(flip=False, eval_crop=0.9, crop_min_area=0.5, interpolation="bilinear")
    run_of |= dict(mean=(0.0,), std=(1.0,), image_size=16, model_options=SMLPNET.model_options)
    settings.save(changed(SMLPNET, **run_of), tmp_path / "config.json")
    (tmp_path / "model_ema.keras").write_text("")
    for weights in (tmp_path, tmp_path / "model_ema.keras"):
        config = fine_tuning.defaults(None, str(weights))
        for name, value in run_of.items():
            assert getattr(config, name) == value, name
    other = fine_tuning.defaults("SMLPNetT", str(tmp_path))
    assert (other.mean, other.std, other.model_options) == ((0.0,), (1.0,), ())
    (tmp_path / "config.json").write_text('{"architecture": "mixer_b16_224"}')
    assert fine_tuning._run_of(str(tmp_path / "model_ema.keras")) is None


def test_the_weights_are_those_of_the_run(earlier, others, tmp_path):
    config = changed(settings.load(earlier / "config.json"), weights=str(earlier))
    begun = model.build_to_begin(config, ("dog", "eel"), print)
    trained = keras.models.load_model(earlier / "model.keras")
    for layer in begun.layers[:-1]:
        for weight, same in zip(layer.weights, trained.get_layer(layer.name).weights, strict=True):
            np.testing.assert_array_equal(weight, same)
    named = changed(config, weights=str(earlier / "model.keras"))
    head = trained.get_layer("head").kernel
    again = model.build_to_begin(named, image_files.CLASSES, print)
    np.testing.assert_array_equal(again.get_layer("head").kernel, head)
    said = []
    again = model.build_to_begin(named, ("dog", "eel", "fox"), said.append)
    assert said == ["weights: the head was left out, because it is of other classes"]
    np.testing.assert_array_equal(again.get_layer("head").kernel, 0 * np.asarray(head))


@pytest.mark.usefixtures("unreviewed")
def test_what_goes_on_needs_the_weights_no_more(earlier, others, copied, tmp_path, capsys):
    """But to say of what they are: the head's loss does not begin anew."""
    before = (copied / "model.keras").stat().st_mtime_ns
    hidden = (earlier / "model.keras").rename(tmp_path / "model.keras")
    try:
        assert tune(earlier, others, copied) == 0
        assert "Continuing after step" in capsys.readouterr().err
        assert tune(earlier, others, tmp_path / "new") == 2
        assert "a run must have come to its end, with model.keras" in capsys.readouterr().err
    finally:
        hidden.rename(earlier / "model.keras")
    assert (copied / "model.keras").stat().st_mtime_ns > before
    newest = max((copied / "checkpoints").glob("step-*.npz"))
    loaded = loading.read_model(newest)
    images = np.random.default_rng(0).uniform(0, 255, (3, 24, 24, 3)).astype("float32")
    trained = keras.models.load_model(copied / "model.keras")
    np.testing.assert_allclose(
        loaded.predict(images), trained.predict(images, verbose=0), rtol=1e-4, atol=1e-5
    )
    assert settings.load(copied / "config.json").weights == str(earlier)


def test_what_is_refused_leaves_a_run_as_it_is(earlier, others, copied, tmp_path, capsys):
    out, renamed = copied, tmp_path / "renamed"
    shutil.copytree(others, renamed)
    (renamed / "dog").rename(renamed / "fox")
    before = {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    assert tune(earlier, renamed, out) == 2
    assert "--data must be what the run of" in capsys.readouterr().err
    now = {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    assert now == before


@pytest.mark.slow
def test_stops_and_goes_on(earlier, others, tmp_path, capsys):
    """Two starts give what one gives."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = ("--trained-blocks", "1", "--layer-decay", "0.5", "--checkpoint-steps", "3")
    assert tune(earlier, others, whole, *options) == 0
    assert tune(earlier, others, parts, *options) == 0
    for path in sorted((parts / "checkpoints").iterdir())[1:]:
        path.unlink()
    capsys.readouterr()
    assert tune(earlier, others, parts, *options) == 0
    assert "Continuing after step" in capsys.readouterr().err
    first, second = (keras.models.load_model(o / "model.keras") for o in (whole, parts))
    for weight, same in zip(first.weights, second.weights, strict=True):
        np.testing.assert_allclose(weight, same, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("unreviewed")
@pytest.mark.parametrize(
    ("size", "resize"), [(48, "block_diagonal"), *extended((32, "interpolate"))]
)
def test_another_resolution(size, resize, earlier, others, tmp_path):
    out = tmp_path / "tuned"
    options = ("--image-size", str(size), "--resize", resize, "--epochs", "1")
    assert tune(earlier, others, out, *options) == 0
    mixing = keras.models.load_model(out / "model.keras").get_layer("block_0_token_mixing")
    assert mixing.grid == (size // 8, size // 8)
    assert mixing.hidden_dim == (32 if resize == "block_diagonal" else 8)
    config = settings.load(out / "config.json")
    assert model.resolved(config) == config
    # The checkpoint says it too, without the weights.
    assert model.build(config, 2).get_layer("block_0_token_mixing").hidden_dim == mixing.hidden_dim


def test_the_activation_is_that_of_the_weights(rng, tmp_path):
    sizes = dict(blocks=2, grid=(3, 3), patch=8, dim=16, tokens_dim=8, channels_dim=16, classes=5)
    path = tmp_path / "timm.npz"
    write(path, foreign.random_arrays(foreign.timm_shapes(**sizes), rng))
    config = model.resolved(changed(CONFIG, weights=str(path)))
    assert "activation=gelu" in config.model_options
    assert (
        model.build(config, 5).get_layer("block_0_token_mixing").get_config()["activation"]
        == "gelu"
    )
    kept = changed(CONFIG, model_options=(*MIXER, "activation=gelu_tanh"), weights=str(path))
    assert "activation=gelu_tanh" in model.resolved(kept).model_options


@pytest.mark.parametrize(
    ("name", "weights", "mean", "std"),
    [
        ("MLPMixerB16", None, (0.5,), (0.5,)),
        ("MLPMixerB16", "miil_imagenet1k", (0.0,), (1.0,)),
        ("SMLPNetB", "imagenet1k", IMAGENET_MEAN, IMAGENET_STD),
        ("SMLPNetB", "smlp_b.pth", IMAGENET_MEAN, IMAGENET_STD),
        ("MLPMixerL16", "Mixer-L_16.npz", (0.5,), (0.5,)),
        ("S2MLPDeep", "own.keras", IMAGENET_MEAN, IMAGENET_STD),
    ],
)
def test_images_are_scaled_as_the_weights_expect(name, weights, mean, std):
    config = fine_tuning.defaults(name, weights)
    assert (config.mean, config.std) == (mean, std)


def test_every_published_preprocessing_is_taken():
    for variant, published in keras_mixers.weights.PUBLISHED.items():
        for name, about in published.items():
            assert fine_tuning.defaults(variant, name).preprocessing == about.preprocessing


def test_pixels_from_zero_to_one():
    images = np.array([[[[0, 51, 255]]]], "uint8")
    expected = np.array([[[[0, 0.2, 1]]]], "float32")
    np.testing.assert_allclose(TO_ZERO_ONE.scale(images), expected, rtol=1e-6)
    np.testing.assert_allclose(TO_ZERO_ONE.scale(tf.constant(images)), expected, rtol=1e-6)
    scale, offset = TO_ZERO_ONE.factors(3)
    np.testing.assert_allclose(scale, 1 / 255)
    np.testing.assert_allclose(offset, 0)


@pytest.fixture
def miil(rng, tmp_path):
    """A small file as MIIL's at timm: its names, and a head of 1,000 classes."""
    sizes = dict(blocks=2, grid=(3, 3), patch=8, dim=16, tokens_dim=8, channels_dim=16)
    arrays = foreign.random_arrays(foreign.timm_shapes(**sizes, classes=1000), rng)
    folder = tmp_path / "mixer_b16_224.miil_in21k_ft_in1k"
    folder.mkdir()
    return write(folder / "model.safetensors", arrays)


def tune_mixer(weights, others, out, *arguments):
    model_options = ("--model", "MLPMixer", "--model-options", *MIXER, "--image-size", "24")
    return tune(weights, others, out, *model_options, "--epochs", "1", *arguments)


def lines_with(words, caplog):
    return [record.getMessage() for record in caplog.records if words in record.getMessage()]


@pytest.mark.usefixtures("unreviewed")
def test_weights_by_their_path_are_known_by_the_name_of_their_folder(
    miil, others, tmp_path, caplog
):
    """They were trained on pixels from 0 to 1, which nothing in the file itself says."""
    out = tmp_path / "tuned"
    assert tune_mixer(miil, others, out) == 0
    config = settings.load(out / "config.json")
    assert (config.mean, config.std) == ((0.0,), (1.0,))
    says = keras.models.load_model(out / "model.keras").preprocessing
    assert (says.mean, says.std) == ((0.0,), (1.0,))
    assert lines_with(NOT_SAID, caplog) == lines_with(EXPECTS, caplog) == []


@pytest.mark.extended
def test_what_is_assumed_of_unknown_weights_is_said_once(miil, others, tmp_path, caplog):
    path, out = miil.rename(tmp_path / "own.safetensors"), tmp_path / "tuned"
    assert tune_mixer(path, others, out) == 0
    (line,) = lines_with(NOT_SAID, caplog)
    assert str(path) in line
    assert "assumed: 224 x 224, central crop 0.875, bilinear, mean 0.5, std 0.5 (give" in line
    config = settings.load(out / "config.json")
    assert (config.mean, config.std) == ((0.5,), (0.5,))


def test_nothing_is_assumed_where_it_is_given(miil, others, tmp_path, caplog):
    path = miil.rename(tmp_path / "own.safetensors")
    words = ["--data", others, "--weights", path, "--model", "MLPMixer", *BY_IMAGENET]
    config, _ = finetune.read_command(list(map(str, words)))
    assert (config.mean, config.std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert lines_with(NOT_SAID, caplog) == []


def test_weights_of_another_scaling_are_said_in_a_line(miil, caplog):
    config = changed(CONFIG, weights=str(miil))
    model.resolved(config)
    assert lines_with(EXPECTS, caplog) == [
        f"--weights {miil} expects images of mean 0 and std 1; this run scales them by --mean 0.5 "
        "and --std 0.5"
    ]
    caplog.clear()
    # As many numbers as channels, or one for all of them: the same.
    for mean, std in (((0.0,), (1.0,)), ((0.0,) * 3, (1.0,) * 3)):
        model.resolved(changed(config, mean=mean, std=std))
    assert lines_with(EXPECTS, caplog) == []


def test_worst_mistakes_are_the_clearest(folder, tmp_path):
    outputs = np.array([[2, 0, 0], [0, 5, 1], [1, 0, 0.5], [9, 0, 3], [0, 4, 0]], "float32")
    labels = np.array([0, 2, 2, 1, 0])
    result = metrics.Result(**metrics.judge(outputs, labels), unreadable=(1,))
    places, indices = result.worst(3)
    assert places.tolist() == [3, 1, 4]  # Margins 9, 4, 4; then 0.5; the first one is right.
    assert indices.tolist() == [4, 2, 5]  # The second image of the data could not be read.
    config = settings.TrainingConfig(image_size=24, eval_crop=1.0)
    data = ImageData(open_source(str(folder), "", "validation"))
    shown, _, _, _ = next(
        data.evaluation_batches(changed(config, batch_size=4)).as_numpy_iterator()
    )
    np.testing.assert_array_equal(data.image(2, config), shown[2])
    with Image.open(data.name(2)) as image:
        assert image.size == (48, 40)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "--data is missing: give a folder with a folder of images per class."),
        (["--data", "{others}", "--weights", "jft"], "must be None, the path of a weight file, or"),
        (["--data", "{others}", "--weights", "no.npz"], "must be None or the path of an existing"),
        (["--data", "{others}", "--export-precision", "int8"], "give --export FOLDER as well"),
        (["--data", "{others}", "--export", "{run}/config.json"], "--export must be a folder"),
        (
            ["--data", "{others}/none"],
            "or a table of labels (.csv, .tsv, .jsonl). Received: {others}/none, wh",
        ),
        (["--data", "{run}/config.json"], "{run}/config.json, a file"),
        (
            ["--data", "{others}", "--weights", "{run}", "--trained-blocks", "3"],
            "--trained-blocks must be at most 1, the blocks of",
        ),
        (["--data", "{others}", "--layer-decay", "0"], "--layer-decay must be greater than 0"),
        (
            ["--data", "{others}", "--trained-blocks", "-1"],
            "--trained-blocks must be greater than or equal to 0",
        ),
        (["--data", "{others}", "--model", "Mixer"], "--model must be one of"),
        (
            [
                "--data",
                "{others}",
                "--weights",
                "{run}",
                *["--model", "SMLPNet", "--model-options", "patch_size=2", "hidden_dim=6"],
                *["depths=(1,1)"],
            ],
            "--weights: `weights` must hold the weights of this very model",
        ),
        (
            ["--data", "{others}", "--weights", "{run}", *BLOCKS],
            "--weights: `input_shape` must be whole multiples",
        ),
        (
            ["--data", "{others}/dog", "--weights", "{run}"],
            "/dog must hold a folder of images per class, or folders train and validation of",
        ),
        (
            ["--data", "{others}", "--weights", "{others}"],
            "must be None or the path of an existing",
        ),
    ],
)
def test_what_cannot_be_used_is_refused(arguments, sentence, earlier, others, tmp_path, capsys):
    words = [part.format(others=others, run=earlier) for part in arguments]
    assert finetune.main([*words, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert sentence.format(others=others, run=earlier) in error
    assert "Traceback" not in error
    assert error.count("\n") <= 2  # What is trained on what, and the sentence.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--weigths", "x"], "--weights {None}|STR"),
        (["--exprt", "x"], "--export {None}|STR"),
        (["--export-precision", "int4"], "invalid choice 'int4' for argument '--export-precision'"),
    ],
)
def test_what_is_no_flag_is_refused_with_a_suggestion(arguments, words, earlier, others, capsys):
    with pytest.raises(SystemExit) as end:
        finetune.main(["--data", str(others), "--weights", str(earlier), *arguments])
    assert end.value.code == 2
    assert words in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_one_class_is_none(others, earlier, tmp_path, capsys):
    shutil.copytree(others / "dog", tmp_path / "data" / "dog")
    assert tune(earlier, tmp_path / "data", tmp_path / "out") == 2
    assert (
        "two classes or more, in a folder each. Received one only: dog" in capsys.readouterr().err
    )


def test_precision_is_that_of_training(others, earlier):
    arguments = ["--data", str(others), "--weights", str(earlier), "--precision", "float32"]
    config, given = finetune.read_command([*arguments, "--epochs", "1"])
    assert (config.precision, config.epochs, config.warmup_epochs) == ("float32", 1, 0.25)
    assert given.export_precision is None


def test_jax_exports_nothing(others, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(UsageError, match="--export needs TensorFlow: leave it out"):
        finetune.run(changed(CONFIG, data=str(others), out=str(tmp_path)), str(tmp_path))


def test_imagenet_begins_with_weights_too(earlier, others, tmp_path, caplog):
    command = [*SMALL, "--data", str(others), "--train-split", "train[:80%]"]
    command += ["--validation-split", "train[80%:]", "--weights", str(earlier)]
    command += [*SHORTER, "--epochs", "1"]
    assert imagenet.main([*command, "--out", str(tmp_path / "run")]) == 0
    assert "the head of 3 classes was left out" in caplog.text
    (line,) = lines_with(EXPECTS, caplog)  # The recipe scales to [-1, 1].
    expected = "mean 0.485 0.456 0.406 and std 0.229 0.224 0.225; this run scales them by --mean "
    assert line == f"--weights {earlier} expects images of {expected}0.5 and --std 0.5"


def test_help_is_complete(capsys):
    with pytest.raises(SystemExit) as end:
        finetune.main(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    for flag in ("--weights", "--resize", "--trained-blocks", "--layer-decay", "--export"):
        assert flag in shown
