import dataclasses
import importlib
import json
import pathlib
import re
import subprocess
import sys

import pytest

from keras_mixers import presets
from keras_mixers.commands import imagenet
from keras_mixers.errors import SettingError, UsageError
from keras_mixers.preprocessing import Preprocessing
from keras_mixers.training import config as settings
from keras_mixers.training.config import TrainingConfig

ROOT = pathlib.Path(__file__).resolve().parents[2]
FULL_SIZE = ("mixer_b16", "mixer_s16", "s2_mlp_deep", "smlpnet_b", "smlpnet_s", "smlpnet_t")


def test_every_setting_has_a_flag_with_its_meaning_and_default():
    command = [sys.executable, "-m", "keras_mixers.commands", "imagenet", "--help"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    shown = " ".join(run.stdout.replace("│", " ").split())
    source = pathlib.Path(settings.__file__).read_text()
    for field in dataclasses.fields(TrainingConfig):
        assert f"--{field.name.replace('_', '-')}" in shown
        (help_,) = re.findall(rf'\n    {field.name}: .*\n    """(.+\.)"""\n', source)
        assert f"{help_} (default: " in shown
    for name in ("--recipe", "--config", "--preview", *presets.names()):
        assert name in shown


def test_flags_override_the_recipe():
    command = ["--recipe", "smlpnet_t", "--epochs", "70", "--model-options", "alpha=2"]
    config, preview = imagenet.read_command(command)
    recipe = importlib.import_module("keras_mixers.presets.smlpnet_t").CONFIG
    expected = dataclasses.replace(recipe, epochs=70, model_options=("alpha=2",))
    assert dataclasses.replace(config, out=expected.out) == expected
    assert config.out == "runs/smlpnet_t"
    assert config.model_arguments() == {"alpha": 2}
    assert preview is None


def test_model_options_are_python_values():
    options = ("depths=(1, 2)", "hidden_dim=8", "name=mine", "rate=0.5")
    config = TrainingConfig(model_options=options)
    assert config.model_arguments() == {
        "depths": (1, 2),
        "hidden_dim": 8,
        "name": "mine",
        "rate": 0.5,
    }


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["--recipe", "mixer_b61"], "mixer_b61. Did you mean mixer_b16?"),
        (["--config", "/nowhere.json"], "--config must be the config.json of a run"),
        (["--config", "x", "--recipe", "mixer_b16"], "leave --recipe out"),
        (["--recipe"], "expected one argument"),
        (["--recipe="], "--recipe must be one of"),
        (["--config", "foo://x/config.json"], "--config must be a path on a disk or in a bucket"),
        (["--ema-decay", "0"], "--ema-decay must be greater than 0, or None. Received: 0"),
        (["--seed", "-1"], "--seed must be greater than or equal to 0. Received: -1"),
        (["--tpu-scoped-vmem", "9"], "--tpu-scoped-vmem must be greater than or equal to 2048"),
        (["--model-options", "include_top=False"], "a classifier is what is trained"),
        (["--model-options", "weights=w.keras"], "give --weights"),
        (["--epochs", "0"], "--epochs must be greater than 0. Received: 0"),
        (["--mixup", "-1"], "--mixup must be greater than or equal to 0. Received: -1"),
        (["--label-smoothing", "1"], "--label-smoothing must be less than 1. Received: 1"),
        (["--erasing", "1.5"], "--erasing must be less than or equal to 1. Received: 1.5"),
        (["--crop-min-area", "0"], "--crop-min-area must be greater than 0"),
        (["--channels", "5"], "--channels 5 needs --randaugment none"),
        (["--image-size", "1.5"], "--image-size must be pixels from 1, such as 224"),
        (["--image-size", "6x7x8"], "--image-size must be pixels from 1, such as 224"),
        (["--value-range", "9", "9"], "`value_range` must be (low, high), low less than high"),
        (
            ["--gradient-accumulation-steps", "3"],
            "--gradient-accumulation-steps must be a divisor of --batch-size 4096",
        ),
        (["--model-options", "alpha"], "--model-options must be like hidden_dim=128"),
        (["--tpu-name", "x"], "--tpu-name needs --tpu"),
        (["--learning-rate", "nan"], "--learning-rate must be a finite number. Received: nan"),
        (["--learning-rate", "inf"], "--learning-rate must be a finite number. Received: inf"),
        (["--clip-norm", "inf"], "--clip-norm must be a finite number"),
        (["--preview", "batch.jpg"], "--preview must name a PNG"),
    ],
)
def test_bad_settings_are_one_sentence_and_status_2(command, sentence, capfd):
    assert imagenet.main(command) == 2
    error = capfd.readouterr().err
    assert sentence in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("flag", "meant"),
    [
        ("--learning-rat", "learning-rate"),
        ("--learning_rat=3", "learning-rate"),
        ("--recip", "recipe"),
        ("--perview", "preview"),
        ("--confg", "config"),
        ("--outt", "out"),
    ],
)
def test_an_unknown_setting_suggests_the_nearest(flag, meant, capfd):
    with pytest.raises(SystemExit, match="2"):
        imagenet.main([flag, "3"])
    error = capfd.readouterr().err
    assert flag in error
    assert f"--{meant} " in error.partition("Perhaps you meant")[2]


def test_underscores_and_switches_are_settings():
    config, _ = imagenet.read_command(["--no-flip", "--batch_size=8", "--head-bias", "-3"])
    assert (config.flip, config.batch_size, config.head_bias) == (False, 8, -3)


def test_a_written_configuration_can_be_given_back(tmp_path):
    config = dataclasses.replace(
        presets.load("smlpnet_s"), model_options=("alpha=2",), ema_decay=0.5, seed=3
    )
    settings.save(config, tmp_path / "config.json")
    again, _ = imagenet.read_command(["--config", str(tmp_path / "config.json")])
    assert again == config
    again, _ = imagenet.read_command(["--config", str(tmp_path / "config.json"), "--seed", "4"])
    assert again == dataclasses.replace(config, seed=4)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        '{"epochs": "many"}',
        '{"loss": "l2"}',
        '{"flip": 3}',
        '{"model_options": [3]}',
        '{"epochs": true}',
        '{"epochs": "3"}',
        '{"learning_rate": NaN}',
        '{"epochs": 0}',
        "\x00",
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UsageError, match="--config must be"):
        settings.load(tmp_path / "config.json")


def test_an_unknown_setting_in_a_file_suggests_the_nearest(tmp_path):
    (tmp_path / "config.json").write_text('{"epochz": 3}')
    with pytest.raises(UsageError, match=r"epochz is no setting. Did you mean epochs\?"):
        settings.load(tmp_path / "config.json")


def test_settings_out_of_range_cannot_be_made():
    with pytest.raises(SettingError, match=r"--epochs must be greater than 0\. Received: 0"):
        TrainingConfig(epochs=0)
    assert hash(TrainingConfig(mixup=0)) == hash(TrainingConfig(mixup=0.0))


def test_differences_are_of_what_matters():
    one = TrainingConfig()
    other = dataclasses.replace(one, seed=1, mixup=0.2, out="x", cpu_devices=2, keep_checkpoints=9)
    assert settings.differences(one, other) == [
        "--mixup: 0.5 in the folder, 0.2 now",
        "--seed: 0 in the folder, 1 now",
    ]


FREE = {
    *(
        "data",
        "data_dir",
        "out",
        "max_unreadable",
        "max_megapixels",
        "tpu",
        "tpu_name",
        "multi_host",
        "cpu_devices",
    ),
    *("remat", "tpu_scoped_vmem"),
    *("checkpoint_minutes", "checkpoint_steps", "keep_checkpoints", "log_steps"),
}


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(TrainingConfig)])
def test_only_where_and_how_safely_may_differ_within_a_run(name):
    one, other = TrainingConfig(), TrainingConfig()
    object.__setattr__(other, name, "another")
    lines = settings.differences(one, other)
    assert len(lines) == (0 if name in FREE else 1)


@pytest.mark.parametrize("name", FULL_SIZE)
def test_a_preset_opens_with_result_source_hardware_and_command(name):
    text = importlib.import_module(f"keras_mixers.presets.{name}").__doc__
    for words in ("Expected:", "Not reproduced here", "Hardware", "https://arxiv.org/abs/"):
        assert words in text
    assert f"keras-mixers imagenet --recipe {name}" in text


def test_the_presets_of_the_issue_are_there():
    assert set(FULL_SIZE) <= set(presets.names())
    for name in presets.names():
        assert isinstance(presets.load(name), TrainingConfig)


def test_settings_of_the_mixer_recipe():
    """Table 4 of https://arxiv.org/abs/2105.01601 and big_vision's mlp_mixer_i1k.py."""
    config = presets.load("mixer_b16")
    expected = dict(
        model="MLPMixerB16",
        train_split="train[:99%]",
        validation_split="validation",
        epochs=300,
        batch_size=4096,
        learning_rate=1e-3,
        final_learning_rate=1e-5,
        schedule="linear",
        weight_decay=0.1,
        clip_norm=1.0,
        loss="sigmoid",
        head_bias=-6.9,
        randaugment="fixed",
        randaugment_layers=2,
        randaugment_magnitude=15,
        mixup=0.5,
        cutmix=0,
        drop_path_rate=0.1,
        mean=(0.5,),
        std=(0.5,),
        mixup_keeps_half=True,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        optimizer="adamw",
        crop_min_area=0.05,
        interpolation="bilinear",
    )
    assert {name: getattr(config, name) for name in expected} == expected
    steps = config.warmup_epochs * 1_281_167 * 0.99 / 4096
    assert 9_500 < steps < 10_500


def test_settings_of_the_smlpnet_recipes():
    """main.py of https://github.com/microsoft/SPACH."""
    tiny, small, base = (presets.load(f"smlpnet_{size}") for size in "tsb")
    assert [c.drop_path_rate for c in (tiny, small, base)] == [0, 0.2, 0.3]
    for config in (tiny, small, base):
        assert (config.mixup, config.cutmix, config.label_smoothing) == (0.8, 1, 0.1)
        assert (config.batch_size, config.learning_rate, config.weight_decay) == (1024, 1e-3, 0.05)
        assert (config.ema_decay, config.repeated_augmentation) == (0.99996, 3)
        assert (config.erasing, config.randaugment) == (0.25, "increasing")
        assert config.preprocessing == Preprocessing(
            interpolation="bicubic", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
        )
        assert config.clip_norm is None
        assert (config.final_learning_rate, config.warmup_learning_rate) == (1e-5, 1e-6)
        assert (config.epochs, config.warmup_epochs, config.schedule) == (300, 20, "cosine")
        assert (config.loss, config.head_bias, config.optimizer) == ("softmax", 0, "adamw")
        assert (config.randaugment_magnitude, config.randaugment_layers) == (9, 2)


@pytest.mark.parametrize(
    ("name", "base", "changes"),
    [
        ("mixer_s16", "mixer_b16", dict(model="MLPMixerS16", tpu_scoped_vmem=None)),
        ("s2_mlp_deep", "smlpnet_t", dict(model="S2MLPDeep", drop_path_rate=0.1, ema_decay=None)),
        ("smlpnet_s", "smlpnet_t", dict(model="SMLPNetS", drop_path_rate=0.2)),
        ("smlpnet_b", "smlpnet_t", dict(model="SMLPNetB", drop_path_rate=0.3)),
    ],
)
def test_a_recipe_changes_of_another_what_it_says_and_no_more(name, base, changes):
    expected = dataclasses.replace(presets.load(base), out=f"runs/{name}", **changes)
    assert presets.load(name) == expected


def test_the_written_settings_are_json(tmp_path):
    settings.save(TrainingConfig(), tmp_path / "config.json")
    assert json.loads((tmp_path / "config.json").read_text())["batch_size"] == 4096
