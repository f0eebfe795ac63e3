"""What a model knows of itself: its preprocessing, its blocks and its stages."""

import argparse
import dataclasses
import importlib.util
import logging
import pathlib

import keras
import numpy as np
import pytest
from etils import epath

import keras_mixers
from keras_mixers import weights as weight_files
from keras_mixers.commands import options as options_of
from keras_mixers.evaluation import inputs
from keras_mixers.evaluation.loading import read_model
from keras_mixers.export.origin import Origin
from keras_mixers.models.mixer_model import MixerModel
from keras_mixers.preprocessing import (
    BY_IMAGENET,
    IMAGENET_MEAN,
    IMAGENET_STD,
    TO_MINUS_ONE_ONE,
    ImagePreprocessing,
    Preprocessing,
)
from tests import reference
from tests.models.small import FAMILIES, build, images

OLD_FILES = pathlib.Path(__file__).parents[1] / "regression"

every_family = pytest.mark.parametrize("family", FAMILIES)


def names(layers):
    return [layer.name for layer in layers]


def facts(model):
    """All that a model knows, in literals."""
    return {
        "family": model.family,
        "stem": names(model.stem),
        "blocks": [names(block.layers) for block in model.blocks],
        "roles": [list(block.roles) for block in model.blocks],
        "stages": [(len(stage.blocks), stage.reduction) for stage in model.stages],
        "final_norm": names(model.final_norm),
        "head": model.head and model.head.name,
        "pyramid": model.pyramid_level_inputs,
    }


MIXER_BLOCK = ("token_norm", "token_mixing", "token_add")
MIXER_BLOCK += ("channel_norm", "channel_mixing", "channel_add")
S2_BLOCK = ("shift_norm", "shift_fc1", "spatial_shift", "shift_fc2", "shift_add")
S2_BLOCK += ("channel_norm", "channel_mixing", "channel_add")
SMLP_BLOCK = ("depthwise_norm", "depthwise_gelu", "depthwise_conv", "axial_norm", "axial_gelu")
SMLP_BLOCK += ("axial_projection", "axial_add", "channel_norm", "channel_mixing", "channel_add")


def blocks_of(roles, count, before=None):
    """Names and roles of blocks; `before` has what leads to the stage that a block begins."""
    found = [[f"block_{i}_{role}" for role in roles] for i in range(count)]
    roles = [list(roles) for _ in range(count)]
    for i, layer in (before or {}).items():
        found[i].insert(0, layer)
        roles[i].insert(0, layer)
    return {"blocks": found, "roles": roles}


EXPECTED = {
    "mlp_mixer": {
        "family": "mlp_mixer",
        "stem": ["stem"],
        **blocks_of(MIXER_BLOCK, 3),
        "stages": [(3, 4)],
        "final_norm": ["pre_head_layer_norm"],
        "head": "head",
        "pyramid": {"P2": "block_2_channel_add"},
    },
    "s2_mlp": {
        "family": "s2_mlp",
        "stem": ["stem"],
        **blocks_of(S2_BLOCK, 3),
        "stages": [(3, 4)],
        "final_norm": [],
        "head": "head",
        "pyramid": {"P2": "block_2_channel_add"},
    },
    "smlpnet": {
        "family": "smlpnet",
        "stem": ["stem"],
        **blocks_of(SMLP_BLOCK, 4, {1: "stage_1_merging", 3: "stage_2_merging"}),
        "stages": [(1, 2), (2, 4), (1, 8)],
        "final_norm": ["pre_head_batch_norm"],
        "head": "head",
        "pyramid": {
            "P1": "block_0_channel_add",
            "P2": "block_2_channel_add",
            "P3": "block_3_channel_add",
        },
    },
}
DEFAULTS = {"mlp_mixer": TO_MINUS_ONE_ONE, "s2_mlp": BY_IMAGENET, "smlpnet": BY_IMAGENET}
OTHER = Preprocessing((16, 16), 0.9, "bicubic", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


@every_family
def test_stem_blocks_stages_norm_and_head(family):
    model = build(family)
    assert type(model) is keras_mixers.MixerModel is MixerModel
    assert facts(model) == EXPECTED[family]
    with_drops = build(family, drop_path_rate=0.1, dropout_rate=0.1)
    assert "block_1_channel_drop_path" in names(with_drops.blocks[1].layers)
    assert facts(with_drops)["stages"] == EXPECTED[family]["stages"]


@every_family
@pytest.mark.parametrize("pooling", [None, "max"])
def test_without_the_top_there_is_no_head(family, pooling):
    model = build(family, include_top=False, pooling=pooling)
    assert facts(model) == EXPECTED[family] | {"head": None}


@every_family
def test_preprocessing_is_that_of_the_family_and_of_the_input(family):
    model = build(family, include_preprocessing=True)
    height, width, _ = model.input_shape[1:]
    expected = dataclasses.replace(DEFAULTS[family], image_size=(height, width))
    assert model.preprocessing == expected
    assert model.includes_preprocessing is True
    given = build(family, preprocessing=OTHER)
    assert given.preprocessing == dataclasses.replace(OTHER, image_size=(height, width))
    assert given.includes_preprocessing is False


@every_family
def test_images_of_other_channels_get_the_average_preprocessing(family, caplog):
    model = build(family, input_shape=(16, 16, 1))
    expected = {"mlp_mixer": ((0.5,), (0.5,))}.get(family, ((0.449,), (0.226,)))
    assert model.preprocessing.mean == pytest.approx(expected[0])
    assert model.preprocessing.std == pytest.approx(expected[1])
    said = "images of 1 channels are scaled by the average mean and std of 3"
    assert (said in caplog.text) is (family != "mlp_mixer")


@every_family
def test_all_is_kept(family, tmp_path):
    """Through a file, a copy, another image size and an input tensor."""
    options = dict(include_preprocessing=True, preprocessing=OTHER, input_shape=(16, 16, 3))
    model = build(family, **options)
    model.save(tmp_path / "model.keras")
    inputs = keras.Input((16, 16, 3))
    before = keras.layers.Rescaling(0.5)(inputs)
    for kept in (
        model,
        keras.models.load_model(tmp_path / "model.keras"),
        keras.models.clone_model(model),
        keras_mixers.resize(model, (16, 16, 3)),
        build(family, **options | dict(input_shape=None, input_tensor=before)),
    ):
        assert type(kept) is MixerModel
        assert facts(kept) == EXPECTED[family]
        assert kept.preprocessing == OTHER
        assert kept.includes_preprocessing is True
        assert [naming.title for naming in kept.namings] == {
            "mlp_mixer": ["Google's MLP-Mixer", "timm's MLP-Mixer"],
            "s2_mlp": [],
            "smlpnet": ["SPACH's sMLPNet"],
        }[family]
    larger = keras_mixers.resize(model, (32, 48, 3))
    assert facts(larger) == EXPECTED[family]
    assert larger.preprocessing == dataclasses.replace(OTHER, image_size=(32, 48))
    assert model.preprocessing == OTHER


def test_an_unknown_size_is_left_as_it_is():
    model = keras_mixers.resize(build("s2_mlp"), (None, None, 3))
    assert model.preprocessing == dataclasses.replace(BY_IMAGENET, image_size=None)
    assert build("s2_mlp", input_shape=(None, None, 3)).preprocessing == model.preprocessing


@every_family
def test_pixels_are_scaled_once(family, rng):
    options = dict(classifier_activation=None)  # And without a crop, for `preprocess`.
    options["preprocessing"] = dataclasses.replace(DEFAULTS[family], crop=1)
    plain = build(family, **options)
    reference.randomize(plain, rng)
    model = build(family, include_preprocessing=True, **options)
    model.set_weights(plain.get_weights())
    pixels = rng.integers(0, 256, (2, *model.input_shape[1:]))
    scaled = plain.preprocessing.scale(pixels)
    expected = keras.ops.convert_to_numpy(plain(scaled))
    preprocess_input = getattr(keras_mixers, family).preprocess_input
    for dtype in ("uint8", "int32", "float32"):
        images = pixels.astype(dtype)
        assert preprocess_input(images) is images
        for given in (images, preprocess_input(images), model.preprocess(images)):
            np.testing.assert_allclose(model(given), expected, atol=2e-5)
    np.testing.assert_allclose(plain(plain.preprocess(pixels)), expected, atol=2e-5)
    assert np.ptp(expected, axis=0).max() > 0.05


@pytest.mark.tensorflow
def test_preprocess_takes_files(rng):
    from tests.helpers.image_files import encode

    image = rng.integers(0, 256, (20, 30, 3), "uint8")
    model = build("smlpnet", include_preprocessing=True)
    found = model.preprocess(encode(image, "PNG"))
    assert (found.dtype, found.shape) == ("uint8", (16, 24, 3))
    scaled = build("smlpnet").preprocess(encode(image, "PNG"))
    assert scaled.dtype == "float32"
    np.testing.assert_allclose(scaled, model.preprocessing.scale(found), atol=1e-6)
    gray = build("smlpnet", input_shape=(16, 24, 1)).preprocess(encode(image, "PNG"))
    assert gray.shape == (16, 24, 1)


@every_family
def test_features_are_what_taps_give(family, rng):
    model = build(family)
    reference.randomize(model, rng)
    x = images(model, rng)
    features = model.features(stages=[0, -1], blocks=(1,))
    ends = {"mlp_mixer": "block_2", "s2_mlp": "block_2", "smlpnet": "block_0"}
    last = {"mlp_mixer": (0, "block_2"), "s2_mlp": (0, "block_2"), "smlpnet": (2, "block_3")}
    expected = {
        "stage_0": f"{ends[family]}_channel_add",
        f"stage_{last[family][0]}": f"{last[family][1]}_channel_add",
        "block_1": "block_1_channel_add",
    }
    taps = {key: model.get_layer(name).output for key, name in expected.items()}
    tapped = keras.Model(model.input, taps)(x)
    found = features(x)
    assert found.keys() == expected.keys()
    for name, value in tapped.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6, err_msg=name)
    assert type(features) is MixerModel
    assert features.name == f"{model.name}_features"
    assert features.preprocessing == model.preprocessing
    assert features.layers[1] is model.layers[1]


def test_features_of_all_stages_are_the_default():
    model = build("smlpnet")
    shapes = {name: tuple(x.shape[1:]) for name, x in model.features().output.items()}
    assert shapes == {"stage_0": (8, 12, 6), "stage_1": (4, 6, 12), "stage_2": (2, 3, 24)}


def test_features_have_the_blocks_that_lead_to_them():
    features = build("smlpnet").features(blocks=[1])
    assert len(features.blocks) == 2
    assert [stage.reduction for stage in features.stages] == [2]
    assert features.head is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(stages=[3]), r"`stages` must be whole numbers from -3 to 2. Received: stages=\(3,\)"),
        (dict(stages=[-4]), "`stages` must be whole numbers from -3 to 2"),
        (dict(stages=["1"]), "`stages` must be whole numbers from -3 to 2"),
        (dict(blocks=[0, 4]), r"`blocks` must be .* -4 to 3. Received: blocks=\(0, 4\)"),
        (dict(blocks=[1.0]), "`blocks` must be whole numbers"),
        (dict(stages=[]), "`stages` or `blocks` must name at least one. Received: none"),
    ],
)
def test_features_that_are_not_there_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build("smlpnet").features(**arguments)


def test_pyramid_outputs_are_the_last_feature_maps():
    model = build("smlpnet")
    assert {level: tuple(x.shape[1:]) for level, x in model.pyramid_outputs.items()} == {
        "P1": (8, 12, 6),
        "P2": (4, 6, 12),
        "P3": (2, 3, 24),
    }
    for level, layer in model.pyramid_level_inputs.items():
        assert model.get_layer(layer).output is model.pyramid_outputs[level]


def test_patches_of_other_sizes_have_no_level():
    model = build("mlp_mixer", patch_size=3, input_shape=(6, 9, 3))
    assert model.pyramid_outputs == {}
    assert model.pyramid_level_inputs == {}


# Files of version 0.1.0, whose models took scaled images and knew nothing of them.


@every_family
def test_an_old_file_knows_no_preprocessing(family):
    """What it predicts is compared in tests/regression."""
    model = keras.models.load_model(OLD_FILES / f"{family}.keras")
    assert not isinstance(model, MixerModel)
    assert getattr(model, "preprocessing", None) is None
    loaded = read_model(epath.Path(OLD_FILES / f"{family}.keras"))
    assert loaded.preprocessing is None
    assert loaded.includes_preprocessing is False


def _prepared(*options, **changes):
    """What evaluation assumes of the old file, here one of square images, and what it says."""
    loaded = read_model(epath.Path(OLD_FILES / "mlp_mixer.keras"))
    loaded = dataclasses.replace(loaded, input_shape=(None, 16, 16, 3), **changes)
    parser = argparse.ArgumentParser()
    options_of.add(parser)
    said = []
    given = options_of.given(parser.parse_args(options))
    config = inputs.preparation(loaded, None, 8, said.append, **given)
    return config.preprocessing, said


def test_evaluation_says_what_it_assumes_of_an_old_file():
    preprocessing, said = _prepared()
    assert preprocessing == Preprocessing(16)
    assert said == [
        "MODEL does not say how its images are prepared; assumed: 16 x 16, central crop 0.875, "
        "bilinear, mean 0.5, std 0.5."
    ]
    preprocessing, said = _prepared("--mean", "0", "--std", "1")
    assert preprocessing == Preprocessing(16, mean=0, std=1)
    assert said == []
    preprocessing, said = _prepared(preprocessing=OTHER)
    assert (preprocessing, said) == (OTHER, [])


def test_export_takes_the_preprocessing_of_the_settings_for_an_old_file():
    old = keras.models.load_model(OLD_FILES / "mlp_mixer.keras")
    assert Origin().of(old).preprocessing == Preprocessing((16, 24))
    new = build("smlpnet")
    expected = dataclasses.replace(BY_IMAGENET, image_size=(16, 24))
    assert Origin().of(new).preprocessing == expected


def test_weights_of_an_old_file_say_what_was_assumed(caplog):
    model = keras_mixers.MLPMixer(
        input_shape=(16, 24, 3),
        classes=7,
        weights=OLD_FILES / "mlp_mixer.keras",
        **dict(patch_size=4, hidden_dim=24, num_blocks=2, tokens_mlp_dim=20, channels_mlp_dim=36),
    )
    assert model.preprocessing == Preprocessing((16, 24))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "weights: their preprocessing is not known; assumed that of the family (16 x 24, central "
        "crop 0.875, bilinear, mean 0.5, std 0.5): give preprocessing= if they were trained with "
        "another"
    )


@every_family
def test_a_new_file_brings_its_preprocessing(family, tmp_path, caplog):
    build(family, input_shape=(16, 16, 3), preprocessing=OTHER).save(tmp_path / "model.keras")
    source = weight_files.describe(tmp_path / "model.keras")
    assert source.preprocessing == OTHER
    model = build(family, input_shape=(16, 16, 3), weights=tmp_path / "model.keras")
    assert model.preprocessing == OTHER
    mine = Preprocessing(16, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    options = dict(input_shape=(16, 16, 3), weights=tmp_path / "model.keras")
    assert build(family, preprocessing=mine, **options).preprocessing == mine
    assert caplog.text == ""


needs_keras_cv = pytest.mark.skipif(
    importlib.util.find_spec("keras_cv") is None, reason="needs keras-cv"
)


def backbone(side):
    return keras_mixers.SMLPNet(
        include_top=False,
        input_shape=(side, side, 3),
        **dict(hidden_dim=8, depths=(1, 1, 1, 1), patch_size=4),
    )


@needs_keras_cv
@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.extended
def test_a_backbone_of_keras_cv_for_segmentation(rng, tmp_path):
    import keras_cv

    model = keras_cv.models.DeepLabV3Plus(num_classes=4, backbone=backbone(64))
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    x = rng.integers(0, 256, (2, 64, 64, 3)).astype("float32")
    before = model.predict_on_batch(x)
    loss = model.train_on_batch(x, rng.integers(0, 4, (2, 64, 64, 1)))
    assert np.isfinite(loss)
    after = model.predict_on_batch(x)
    assert np.abs(after - before).max() > 1e-4
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.backbone) is MixerModel
    assert loaded.backbone.pyramid_level_inputs == model.backbone.pyramid_level_inputs
    np.testing.assert_allclose(loaded.predict_on_batch(x), after, atol=1e-6)


@needs_keras_cv
@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
def test_a_backbone_of_keras_cv_for_detection(rng, tmp_path):
    import keras_cv
    import tensorflow as tf

    model = keras_cv.models.RetinaNet(
        num_classes=4, bounding_box_format="xyxy", backbone=backbone(128)
    )
    losses = dict(box_loss="smoothl1", classification_loss="focal")
    model.compile(optimizer=keras.optimizers.SGD(1e-3), **losses)
    x = rng.integers(0, 256, (2, 128, 128, 3)).astype("float32")
    boxes = np.array([[[10, 10, 60, 60]], [[20, 30, 90, 100]]], "float32")
    targets = {"boxes": boxes, "classes": np.array([[1], [2]], "float32")}
    before = np.array(model(x)["box"])
    history = model.fit(tf.data.Dataset.from_tensors((x, targets)), verbose=0).history
    assert np.isfinite(history["loss"]).all()
    after = model(x)
    assert np.abs(np.array(after["box"]) - before).max() > 1e-6
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.backbone) is MixerModel
    for name, value in loaded(x).items():
        np.testing.assert_allclose(value, after[name], atol=1e-5, err_msg=name)


def test_images_of_other_channels_are_not_preprocessed():
    """Channels first, say, which would be taken for an image of 16 channels."""
    model = build("mlp_mixer", include_preprocessing=True)
    with pytest.raises(ValueError, match=r"must have 3 channels on the last axis.* 16 channels"):
        model.preprocess(np.zeros((3, 16, 16), "uint8"))


def test_one_number_of_a_stage_or_block_and_those_of_numpy():
    model = build("smlpnet")
    assert list(model.features(stages=1).output) == ["stage_1"]
    assert list(model.features(stages=np.int64(-1)).output) == ["stage_2"]
    assert list(model.features(blocks=np.array([0, 1])).output) == ["block_0", "block_1"]
    for wrong in (True, [True], "1", 1.0, np.array([0.5])):
        with pytest.raises(ValueError, match="`blocks` must be whole numbers from -4 to 3"):
            model.features(blocks=wrong)


def test_a_mixer_model_without_our_first_layer_says_so():
    inputs = keras.Input((4, 4, 3))
    model = MixerModel(inputs, keras.layers.Flatten()(inputs))
    with pytest.raises(AttributeError, match="must have the layer ImagePreprocessing"):
        model.preprocessing  # noqa: B018
    assert model.predict_on_batch(np.zeros((1, 4, 4, 3))).shape == (1, 48)
    images = ImagePreprocessing(OTHER)(inputs)
    model = MixerModel(inputs, keras.layers.Flatten()(images))
    assert model.preprocessing == OTHER
    with pytest.raises(AttributeError, match="must know its blocks and stages"):
        model.blocks  # noqa: B018


def test_weights_of_a_run_folder(rng, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    model = build("mlp_mixer", num_blocks=1, preprocessing=OTHER)
    reference.randomize(model, rng)
    with pytest.raises(ValueError, match=r"or of a run folder with its model\.keras"):
        build("mlp_mixer", num_blocks=1, weights=tmp_path / "run")
    model.save(tmp_path / "run" / "model.keras")
    again = build("mlp_mixer", num_blocks=1, weights=tmp_path / "run")
    np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])
    assert again.preprocessing == model.preprocessing
    monkeypatch.chdir(tmp_path)
    assert weight_files.path_of("MLPMixerB16", "run") == "run"
