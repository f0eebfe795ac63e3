"""How images are prepared for a weight file: what says it, and what is said where nothing does."""

import dataclasses
import json
import zipfile

import numpy as np
import pytest

import keras_mixers
from keras_mixers import weights as weight_files
from keras_mixers.preprocessing import BY_IMAGENET, TO_MINUS_ONE_ONE, TO_ZERO_ONE, Preprocessing
from keras_mixers.training import model
from keras_mixers.training.config import TrainingConfig
from keras_mixers.weights import origin
from tests.weights import foreign
from tests.weights.test_foreign_files import MIXER, SMLPNET, build_mixer, build_smlpnet, write

SHAPES = {
    "google": (foreign.google_shapes, MIXER),
    "timm": (foreign.timm_shapes, MIXER),
    "spach": (foreign.spach_shapes, SMLPNET),
}


def made(kind, path, **changed):
    shapes, sizes = SHAPES[kind]
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = foreign.random_arrays(shapes(**sizes | changed), np.random.default_rng(0))
    return write(path, arrays)


def of_size(preprocessing, side):
    return dataclasses.replace(preprocessing, image_size=side)


@pytest.mark.parametrize("include_preprocessing", [True, False])
def test_google(include_preprocessing, tmp_path, caplog):
    path = made("google", tmp_path / "Mixer-B_16.npz")
    model = build_mixer(weights=path, include_preprocessing=include_preprocessing)
    assert model.preprocessing == of_size(TO_MINUS_ONE_ONE, 12)
    assert model.includes_preprocessing is include_preprocessing
    assert caplog.text == ""


def test_spach(tmp_path, caplog):
    model = build_smlpnet(weights=made("spach", tmp_path / "smlp_s.npz"))
    assert model.preprocessing == of_size(BY_IMAGENET, 16)
    assert caplog.text == ""


@pytest.mark.parametrize(
    "name",
    [
        "MLPMixerB16_miil_imagenet1k.npz",  # In Keras' cache.
        "models--timm--mixer_b16_224.miil_in21k_ft_in1k/snapshots/0123/model.npz",
        "mixer_b16_224.miil_in21k/model.npz",
        "mixer_b16_224.miil_in21k_ft_in1k.npz",
        "mixer_b16_224_miil-9229a591.npz",
        "mixer_b16_224_miil_in21k.npz",  # timm's name of the model, before the hub.
    ],
)
def test_miil_by_name(name, tmp_path, caplog):
    model = build_mixer(weights=made("timm", tmp_path / name))
    assert model.preprocessing == of_size(TO_ZERO_ONE, 12)
    assert caplog.text == ""


@pytest.mark.parametrize(
    "name",
    [
        "releases/model.npz",
        "storage.googleapis.com/model.npz",
        "mixer_b16_224.miil_in21k/mine/model.npz",
        "models--someone--mixer_b16_224.miil_in21k/snapshots/0123/model.npz",
        "MLPMixerB16_miil_imagenet1k.mine.npz",
        "mine.mixer_b16_224.miil_in21k.npz",
    ],
)
def test_other_names_and_folders_say_nothing(name, tmp_path):
    assert origin.preprocessing(str(tmp_path / name), 1000) is None


def test_miil_by_the_size_of_its_head(tmp_path, caplog):
    path = made("timm", tmp_path / "model.npz", classes=11221)
    model = build_mixer(weights=path, classes=11221)
    assert model.preprocessing == of_size(TO_ZERO_ONE, 12)
    assert caplog.text == ""
    assert build_mixer(weights=path).preprocessing == model.preprocessing  # Of five classes.


def test_a_head_of_a_size_that_many_have_says_nothing(tmp_path):
    assert origin.preprocessing(str(tmp_path / "model.npz"), 1000) is None
    assert origin.preprocessing(str(tmp_path / "model.npz"), None) is None


def config_of(**changes):
    about = dict(input_size=[3, 224, 224], crop_pct=0.9, interpolation="bicubic")
    about |= dict(mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6])
    return json.dumps({"architecture": "mixer_b16_224", "pretrained_cfg": about | changes})


def test_timm_by_the_config_beside_the_file(tmp_path, caplog):
    """It comes before the name of the folder, and before the head."""
    path = made("timm", tmp_path / "mixer_b16_224.miil_in21k" / "model.npz", classes=11221)
    (path.parent / "config.json").write_text(config_of())
    model = build_mixer(weights=path, classes=11221)
    expected = Preprocessing(12, 0.9, "bicubic", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert model.preprocessing == expected
    assert caplog.text == ""


@pytest.mark.parametrize(
    "text",
    [
        "not JSON",
        "[]",
        "{}",
        json.dumps({"pretrained_cfg": None}),
        config_of(std=[0, 0, 0]),
        config_of(mean="half"),
        config_of(crop_pct=None),
        config_of(interpolation=["bicubic"]),
        config_of(input_size=3),
        config_of(comment="x" * 1_000_001),
    ],
)
def test_a_config_that_cannot_be_used_says_nothing(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    assert origin.preprocessing(str(tmp_path / "model.npz")) is None


def test_what_was_assumed_is_said_in_a_line(tmp_path, caplog):
    path = made("timm", tmp_path / "model.npz")
    model = build_mixer(weights=path)
    assert model.preprocessing == of_size(TO_MINUS_ONE_ONE, 12)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("keras_mixers", "WARNING")
    assert record.getMessage() == (
        "weights: their preprocessing is not known; assumed that of the family (12 x 12, central "
        "crop 0.875, bilinear, mean 0.5, std 0.5): give preprocessing= if they were trained with "
        "another"
    )


def test_nothing_is_said_where_it_is_given(tmp_path, caplog):
    path = made("timm", tmp_path / "model.npz")
    model = build_mixer(weights=path, preprocessing=TO_ZERO_ONE)
    assert model.preprocessing == of_size(TO_ZERO_ONE, 12)
    assert caplog.text == ""


@pytest.mark.parametrize("kind", SHAPES)
def test_what_is_given_comes_before_what_the_weights_say(kind, tmp_path, caplog):
    build = build_smlpnet if kind == "spach" else build_mixer
    given = Preprocessing(None, 1.0, "bicubic", 0.3, 0.7)
    model = build(weights=made(kind, tmp_path / "model.npz"), preprocessing=given)
    assert model.preprocessing == of_size(given, model.input_shape[1])
    assert caplog.text == ""


def test_nothing_is_said_without_weights(caplog):
    assert build_mixer().preprocessing == of_size(TO_MINUS_ONE_ONE, 12)
    assert caplog.text == ""


def test_weights_of_keras_without_a_config_do_not_say_it(tmp_path, caplog):
    build_mixer(preprocessing=TO_ZERO_ONE).save_weights(tmp_path / "model.weights.h5")
    assert weight_files.describe(tmp_path / "model.weights.h5").preprocessing is None
    model = build_mixer(weights=tmp_path / "model.weights.h5")
    assert model.preprocessing == of_size(TO_MINUS_ONE_ONE, 12)
    assert caplog.text.count("their preprocessing is not known") == 1


def test_published_preprocessing():
    """MIIL scales to [0, 1], SPACH by ImageNet's numbers, Google to [-1, 1]."""
    found = {
        (variant, name): about.preprocessing
        for variant, weights in keras_mixers.weights.PUBLISHED.items()
        for name, about in weights.items()
    }
    assert found["MLPMixerB16", "miil_imagenet1k"] == TO_ZERO_ONE
    assert found["MLPMixerB16", "miil_imagenet21k"] == TO_ZERO_ONE
    assert found["SMLPNetS", "imagenet1k"] == found["SMLPNetB", "imagenet1k"] == BY_IMAGENET
    rest = [v for k, v in found.items() if "miil" not in k[1] and "SMLP" not in k[0]]
    assert rest == [TO_MINUS_ONE_ONE] * 10


def test_weights_in_a_model_that_scales_otherwise_get_a_line(tmp_path, caplog):
    """Loaded later, they cannot choose the model's preprocessing any more."""
    path = made("timm", tmp_path / "mixer_b16_224.miil_in21k/model.npz")
    weight_files.load(build_mixer(preprocessing=TO_ZERO_ONE), path)
    assert "they expect" not in caplog.text
    weight_files.load(build_mixer(), path)
    assert "they expect images prepared by 224 x 224, central crop 0.875, " in caplog.text
    assert "mean 0, std 1; this model has 12 x 12, " in caplog.text


@pytest.mark.parametrize("change", [{"crop": 0.5}, {"interpolation": "bicubic"}])
def test_another_crop_is_said_where_it_cannot_be_kept(change, tmp_path, caplog):
    model = build_mixer(preprocessing=dataclasses.replace(TO_MINUS_ONE_ONE, **change))
    model.save(tmp_path / "model.keras")
    weight_files.load(build_mixer(), tmp_path / "model.keras")
    (line,) = caplog.messages
    assert "they expect images prepared by" in line


OTHER = Preprocessing(12, 0.9, "bicubic", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


@pytest.mark.parametrize(
    ("ending", "usual"), [(".npz", TO_MINUS_ONE_ONE), (".safetensors", TO_MINUS_ONE_ONE)]
)
def test_files_of_ours_say_their_preprocessing_and_activation(ending, usual, tmp_path, caplog):
    pytest.importorskip("safetensors")
    path = tmp_path / f"a{ending}"
    theirs = {".npz": "gelu_tanh", ".safetensors": "gelu"}[ending]
    weight_files.save(build_mixer(preprocessing=usual, activation=theirs), path)
    assert caplog.text == ""
    weight_files.save(build_mixer(preprocessing=OTHER, activation="silu"), path)
    lines = caplog.messages[:]
    assert "other code than keras_mixers must compute with activation='silu'" in lines[-1]
    if ending == ".npz":  # timm has no one preprocessing for its names.
        assert "images must be prepared by 12 x 12, central crop 0.9, bicubic, " in lines[0]
    caplog.clear()
    read = build_mixer(weights=path)
    assert read.preprocessing == OTHER
    assert read.get_layer("block_0_channel_mixing").get_config()["activation"] == "silu"
    assert caplog.text == ""


def test_numpy_and_safetensors_read_the_files(tmp_path):
    safetensors = pytest.importorskip("safetensors")
    model = build_mixer(preprocessing=OTHER)
    weight_files.save(model, tmp_path / "a.npz")
    weight_files.save(model, tmp_path / "a.safetensors")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert file["head/bias"].shape == (5,)
        assert len(file.files) == len(model.weights)
    with safetensors.safe_open(tmp_path / "a.safetensors", "numpy") as file:
        assert file.metadata()["format"] == "pt"


ABOUT = {
    "no JSON": "preprocessing",
    "[]": "preprocessing",
    '{"mean": "half"}': "preprocessing",
    '{"other": 1}': "preprocessing",
    "swoosh": "activation",
}


@pytest.mark.parametrize("about", ABOUT)
def test_metadata_of_no_model_are_refused(about, tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    arrays = foreign.random_arrays(foreign.timm_shapes(**MIXER), np.random.default_rng(0))
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    path = tmp_path / "a.safetensors"
    key = ABOUT[about]
    numpy.save_file(arrays, path, metadata={f"keras_mixers.{key}": about})
    with pytest.raises(ValueError, match=f"its metadata has an? {key} of no model"):
        build_mixer(weights=path)


@pytest.mark.parametrize(
    "comment", [b"made by hand", b'{"keras_mixers.', b"\xff", b'{"keras_mixers.x": []}']
)
def test_other_comments_of_archives(comment, tmp_path):
    path = made("google", tmp_path / "a.npz")
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = comment
    if comment == b'{"keras_mixers.':
        with pytest.raises(ValueError, match="it cannot be read: "):
            build_mixer(weights=path)
    else:
        assert build_mixer(weights=path).preprocessing == of_size(TO_MINUS_ONE_ONE, 12)


def test_weights_that_say_nothing_get_a_line_when_they_are_loaded(tmp_path, caplog):
    weight_files.load(build_mixer(activation="gelu"), made("timm", tmp_path / "model.npz"))
    (line,) = caplog.messages
    assert line.startswith("weights: their preprocessing is not known; this model has mean (0.5,)")


def test_training_says_where_its_weights_say_nothing(tmp_path, caplog):
    path = made("timm", tmp_path / "model.npz")
    config = TrainingConfig(model="MLPMixerB16", weights=str(path))
    model.resolved(config)
    (line,) = caplog.messages
    assert line.startswith(f"--weights {path} does not say how its images are scaled; this run ")
