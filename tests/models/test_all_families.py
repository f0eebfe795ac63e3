"""What every family must do."""

import json

import keras
import numpy as np
import pytest

import keras_mixers
from tests import reference
from tests.helpers.sampling import extended
from tests.models.small import FAMILIES, NUM_BLOCKS, build, images, outputs

every_family = pytest.mark.parametrize("family", FAMILIES)

# Non-default arguments of each family's own.
UNUSUAL = {
    "mlp_mixer": dict(dropout_rate=0.1, drop_path_rate=0.2, activation="gelu"),
    "s2_mlp": dict(dropout_rate=0.1, drop_path_rate=0.2, directions="eight"),
    "smlpnet": dict(dropout_rate=0.1, drop_path_rate=0.2, fusion="weighted_sum", mlp_ratio=2),
}


@every_family
def test_saved_and_loaded_with_non_default_arguments(family, rng, tmp_path):
    model = build(family, input_shape=(16, 16, 4), name="unusual", **UNUSUAL[family])
    reference.randomize(model, rng)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.name == "unusual"
    assert json.dumps(loaded.get_config()) == json.dumps(model.get_config())
    x = images(model, rng)
    np.testing.assert_array_equal(outputs(loaded, x), outputs(model, x))


@every_family
def test_every_trainable_weight_gets_a_gradient(family, rng):
    model = build(family, classifier_activation=None)
    reference.randomize(model, rng)
    before = [keras.ops.convert_to_numpy(w) for w in model.trainable_weights]
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss="mse")
    x = images(model, rng, 8)
    model.fit(x, rng.normal(size=(8, 5)).astype("float32"), batch_size=8, verbose=0)
    for weight, old in zip(model.trainable_weights, before, strict=True):
        change = np.abs(keras.ops.convert_to_numpy(weight) - old)
        # Of an exact zero, rounding leaves about 1e-8.
        assert change.max() > 1e-6 or INVISIBLE.get(family, "-") in weight.path, weight.path


# Biases that a following norm takes away again, so that the logits do not depend on them. Mixer's
# second token bias adds the same to all channels of a position; the last bias of sMLPNet adds the
# same to a channel in the whole batch.
INVISIBLE = {"mlp_mixer": "token_mixing/fc2/bias", "smlpnet": "block_3_channel_mixing/fc2/bias"}


@pytest.mark.parametrize(
    ("family", "tap"), [("mlp_mixer", "block_2_token_add"), ("smlpnet", "block_3_channel_add")]
)
def test_invisible_biases_get_a_gradient_from_inner_features(family, tap, rng):
    model = build(family)
    reference.randomize(model, rng)
    inner = keras.Model(model.input, model.get_layer(tap).output)
    inner.compile(optimizer=keras.optimizers.SGD(1.0), loss="mse")
    biases = [w for w in model.trainable_weights if INVISIBLE[family] in w.path]
    before = [keras.ops.convert_to_numpy(bias) for bias in biases]
    x = images(model, rng)
    inner.fit(x, np.zeros(inner.compute_output_shape(x.shape)), verbose=0)
    assert len(biases) == {"mlp_mixer": 3, "smlpnet": 1}[family]
    for bias, old in zip(biases, before, strict=True):
        assert np.abs(keras.ops.convert_to_numpy(bias) - old).min() > 1e-5


@every_family
def test_without_the_top(family, rng):
    with_top = build(family)
    expected = with_top.layers[-3].output.shape
    features = build(family, include_top=False)
    assert features.output_shape == expected
    assert len(features.output_shape) == 4
    x = images(features, rng)
    maps = outputs(features, x)
    for pooling, pool in (("avg", np.mean), ("max", np.max)):
        pooled = build(family, include_top=False, pooling=pooling)
        pooled.set_weights(features.get_weights())
        got = outputs(pooled, x)
        np.testing.assert_allclose(got, pool(maps, axis=(1, 2)), atol=1e-6)


@every_family
def test_classifier(family, rng):
    model = build(family)
    reference.randomize(model, rng)
    logits = build(family, classifier_activation=None)
    logits.set_weights(model.get_weights())
    x = images(model, rng)
    expected = reference.softmax(outputs(logits, x))
    np.testing.assert_allclose(outputs(model, x), expected, atol=1e-6)
    np.testing.assert_allclose(expected.sum(axis=-1), 1, atol=1e-6)


@every_family
@pytest.mark.parametrize("shape", [(32, 32, 1), (16, 48, 4), (64, 64, 3)])
@pytest.mark.parametrize("classes", [1, 12])
def test_other_images_and_classes(family, shape, classes):
    model = build(family, input_shape=shape, classes=classes)
    assert model.input_shape == (None, *shape)
    assert model.output_shape == (None, classes)


def test_s2_mlp_takes_images_of_any_size(rng):
    model = build("s2_mlp", input_shape=(None, None, 3))
    for size in ((8, 12), (20, 4)):
        x = rng.normal(size=(1, *size, 3)).astype("float32")
        fixed = build("s2_mlp", input_shape=(*size, 3))
        fixed.set_weights(model.get_weights())
        np.testing.assert_allclose(outputs(model, x), outputs(fixed, x), atol=1e-6)


@every_family
def test_channels_first_setting_of_keras_changes_nothing(family, rng):
    plain = build(family)
    reference.randomize(plain, rng)
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        model = build(family)
    finally:
        keras.config.set_image_data_format(before)
    model.set_weights(plain.get_weights())
    x = images(model, rng)
    np.testing.assert_array_equal(outputs(model, x), outputs(plain, x))


@every_family
def test_on_an_input_tensor(family, rng):
    shape = build(family).input_shape[1:]
    inputs = keras.Input(shape)
    model = build(family, input_shape=None, input_tensor=keras.layers.Rescaling(0.5)(inputs))
    plain = build(family)
    reference.randomize(plain, rng)
    model.set_weights(plain.get_weights())
    assert model.inputs == [inputs]
    x = images(model, rng)
    np.testing.assert_allclose(outputs(model, x), outputs(plain, x * 0.5), atol=1e-6)


@every_family
@pytest.mark.parametrize("policy", ["mixed_bfloat16", *extended("mixed_float16")])
def test_mixed_precision(family, policy, rng):
    exact = build(family)
    reference.randomize(exact, rng)
    keras.config.set_dtype_policy(policy)
    model = build(family)
    model.set_weights(exact.get_weights())
    assert model.get_layer("stem").compute_dtype == policy.removeprefix("mixed_")
    assert {w.dtype for w in model.trainable_weights} == {"float32"}
    x = images(model, rng)
    got = outputs(model, x)
    assert got.dtype == "float32"
    tolerance = {"mixed_bfloat16": 0.1, "mixed_float16": 0.01}[policy]
    np.testing.assert_allclose(got, outputs(exact, x), atol=tolerance)
    model.compile(optimizer="sgd", loss="mse")
    history = model.fit(x, np.zeros((2, 5)), verbose=0)
    assert np.isfinite(history.history["loss"]).all()


@every_family
def test_stochastic_depth_rises_linearly_to_its_rate(family):
    model = build(family, drop_path_rate=0.3)
    last = NUM_BLOCKS[family] - 1
    for block in range(last + 1):
        rates = [
            layer.rate
            for layer in model.layers
            if layer.name.startswith(f"block_{block}_") and layer.name.endswith("drop_path")
        ]
        expected = 0.3 * block / last
        assert rates == pytest.approx([expected] * 2 if block else [])


@every_family
def test_stochastic_depth_of_a_single_block_has_its_rate(family):
    depth = dict(depths=(1,)) if family == "smlpnet" else dict(num_blocks=1)
    model = build(family, drop_path_rate=0.3, **depth)
    rates = [layer.rate for layer in model.layers if layer.name.endswith("drop_path")]
    assert rates == [0.3, 0.3]


@every_family
def test_norms_have_the_official_epsilon(family):
    expected = {"mlp_mixer": 1e-6, "s2_mlp": 1e-5, "smlpnet": 1e-5}[family]
    model = build(family)
    norms = [layer for layer in model.layers if hasattr(layer, "epsilon")]
    assert len(norms) == {"mlp_mixer": 7, "s2_mlp": 6, "smlpnet": 13}[family]
    assert {norm.epsilon for norm in norms} == {expected}
    momenta = {norm.momentum for norm in norms if hasattr(norm, "momentum")}
    assert momenta == ({0.9} if family == "smlpnet" else set())


def test_initial_weights_of_mlp_mixer():
    """Flax's defaults: lecun-normal kernels, zero biases; the head starts at zero."""
    model = build("mlp_mixer", hidden_dim=64, tokens_mlp_dim=400, channels_mlp_dim=300)
    for weight in model.trainable_weights:
        values = keras.ops.convert_to_numpy(weight)
        if weight.name == "bias" or weight.path.startswith("head"):
            assert not values.any(), weight.path
        elif weight.name == "kernel":
            fan_in = np.prod(values.shape[:-1])
            assert values.std() == pytest.approx(fan_in**-0.5, rel=0.1), weight.path


@pytest.mark.parametrize("family", ["s2_mlp", "smlpnet"])
def test_initial_weights_of_the_pytorch_families(family):
    """Kernels and biases uniform in +-1/sqrt(fan-in)."""
    model = build(family, hidden_dim=48, classes=100)
    fan_in = None
    for weight in model.trainable_weights:
        values = keras.ops.convert_to_numpy(weight)
        if weight.name == "kernel":
            depthwise = "depthwise" in weight.path
            fan_in = 9 if depthwise else np.prod(values.shape[:-1])
        if weight.name in ("kernel", "bias"):
            limit = fan_in**-0.5
            assert np.abs(values).max() <= limit, weight.path
            assert np.abs(values).max() > 0.8 * limit or values.size < 30, weight.path


@every_family
def test_every_layer_has_a_name_of_its_own_choice(family):
    """Block names start with the block; nothing is left to Keras' counters."""
    names = [layer.name for layer in build(family, drop_path_rate=0.1).layers]
    assert names[:3] == ["images", "preprocessing", "stem"]
    around = {*names[:3], "avg_pool", "head", "pre_head_layer_norm", "pre_head_batch_norm"}
    others = [n for n in names if not n.startswith(("block_", "stage_")) and n not in around]
    assert others == []


ERRORS = [
    (dict(classes=0), "`classes` must be a positive integer. Received: classes=0"),
    (dict(pooling="mean"), "`pooling` must be one of None, 'avg', 'max'. Received: pooling='mean'"),
    (dict(drop_path_rate=1.5), "`drop_path_rate` must be .* Received: drop_path_rate=1.5"),
    (dict(dropout_rate=-1), "`dropout_rate` must be .* Received: dropout_rate=-1"),
    (dict(input_shape=(32, 32)), r"`input_shape` must be \(height, width, channels\)"),
    (dict(input_shape=(32, 32, None)), "`input_shape` must be"),
    (dict(input_shape=32), "`input_shape` must be"),
    (dict(input_shape=(32, -32, 3)), "`input_shape` must be a positive integer"),
    (dict(input_tensor=keras.Input((32, 3)), input_shape=None), "`input_tensor` must have the"),
    (dict(input_tensor=np.zeros((1, 32, 32, 3))), "`input_tensor` must be .* Received: ndarray"),
    (dict(input_shape=(30, 32, 3)), r"multiples of .* = .*[Rr]eceived: height=30, width=32"),
    (dict(weights="imagenet"), "`weights` must be None.* the path of .* weights='imagenet'"),
    (dict(weights="no.weights.h5"), "`weights` must be None or the path of an existing"),
    (dict(weights=3), "Received: weights=3"),
    (dict(preprocessing="imagenet"), "`preprocessing` must be None or a .* preprocessing='imag"),
    (dict(patch_size=0), "`patch_size` must be a positive integer. Received: patch_size=0"),
    (dict(hidden_dim=0), "`hidden_dim` must be a positive integer. Received: hidden_dim=0"),
]


@every_family
@pytest.mark.parametrize(("arguments", "message"), ERRORS)
def test_errors(family, arguments, message):
    with pytest.raises(ValueError, match=message):
        build(family, **arguments)


@pytest.mark.parametrize("family", ["mlp_mixer", "smlpnet"])
def test_families_of_fixed_size_refuse_an_unknown_size(family):
    with pytest.raises(ValueError, match="height and width must be known"):
        build(family, input_shape=(None, None, 3))


def test_depths_must_be_a_sequence_of_positive_integers():
    for depths in ((2, 0), 3, ()):
        with pytest.raises(ValueError, match="`depths` must be"):
            build("smlpnet", depths=depths)


def test_input_shape_must_agree_with_input_tensor():
    with pytest.raises(ValueError, match="`input_shape` must be left out or agree"):
        keras_mixers.MLPMixerS32(input_tensor=keras.Input((64, 64, 3)), input_shape=(32, 32, 3))


@every_family
def test_what_is_frozen_stays_frozen(family, tmp_path):
    """In a file, a clone and a model for another size, where Keras would thaw inner layers."""
    model = build(family)
    for layer in model.layers[:-2]:
        layer.trainable = False
    model.save(tmp_path / "model.keras")
    height, width, channels = model.input_shape[1:]
    for twin in (
        keras.models.load_model(tmp_path / "model.keras"),
        keras.models.clone_model(model),
        keras_mixers.resize(model, (2 * height, 2 * width, channels)),
    ):
        names = [weight.path for weight in twin.trainable_weights]
        assert names == [weight.path for weight in model.trainable_weights] != []
