"""What every layer must do, with non-default arguments."""

import inspect
import json

import keras
import numpy as np
import pytest

from keras_mixers import layers

MLP = dict(
    hidden_dim=6,
    activation="gelu_tanh",
    dropout_rate=0.25,
    kernel_initializer=keras.initializers.HeNormal(seed=3),
    bias_initializer="fan_in_uniform",
    seed=7,
)
FAN_IN = dict(kernel_initializer="fan_in_uniform", bias_initializer="fan_in_uniform")

# (class, arguments, input shape, output shape)
CASES = {
    "token_mixing": (layers.TokenMixing, MLP, (2, 4, 3, 8), (2, 4, 3, 8)),
    "channel_mixing": (layers.ChannelMixing, MLP, (2, 4, 3, 8), (2, 4, 3, 8)),
    "patch_embedding": (
        layers.PatchEmbedding,
        dict(hidden_dim=5, patch_size=2, use_bias=False, **FAN_IN),
        (2, 4, 6, 3),
        (2, 2, 3, 5),
    ),
    "spatial_shift": (
        layers.SpatialShift2D,
        dict(directions="eight"),
        (2, 4, 3, 9),
        (2, 4, 3, 9),
    ),
    "axial_concat": (
        layers.AxialProjection,
        dict(include_identity=False, mode="sequential", **FAN_IN),
        (2, 4, 3, 8),
        (2, 4, 3, 8),
    ),
    "axial_weighted": (
        layers.AxialProjection,
        dict(fusion="weighted_sum", **FAN_IN),
        (2, 4, 3, 8),
        (2, 4, 3, 8),
    ),
    "axial_sum": (layers.AxialProjection, dict(fusion="sum"), (2, 4, 3, 8), (2, 4, 3, 8)),
    "patch_merging": (
        layers.PatchMerging,
        dict(
            hidden_dim=5,
            norm=keras.layers.LayerNormalization(epsilon=1e-5),
            use_bias=True,
            **FAN_IN,
        ),
        (2, 4, 6, 3),
        (2, 2, 3, 5),
    ),
    "activation": (layers.Activation, dict(activation="gelu"), (2, 4, 3, 8), (2, 4, 3, 8)),
    "pointwise_dense": (
        layers.PointwiseDense,
        dict(units=5, activation="gelu", use_bias=False),
        (2, 4, 3, 8),
        (2, 4, 3, 5),
    ),
    "drop_path": (layers.DropPath, dict(rate=0.25, seed=3), (2, 4, 3, 8), (2, 4, 3, 8)),
    "layer_norm": (
        layers.LayerNormalization,
        dict(epsilon=1e-4, center=False),
        (2, 4, 3, 8),
        (2, 4, 3, 8),
    ),
    "batch_norm": (
        layers.SyncBatchNormalization,
        dict(momentum=0.8, epsilon=1e-4, center=False),
        (2, 4, 3, 8),
        (2, 4, 3, 8),
    ),
}
all_cases = pytest.mark.parametrize("case", CASES)


def build(case):
    cls, arguments, input_shape, output_shape = CASES[case]
    if isinstance(arguments.get("norm"), keras.layers.Layer):
        norm = arguments["norm"]
        arguments = {**arguments, "norm": type(norm).from_config(norm.get_config())}
    return cls(**arguments), input_shape, output_shape


def test_every_public_layer_is_covered():
    of_two_maps = {"ResidualAdd"}  # test_residual_add.py
    assert {CASES[case][0].__name__ for case in CASES} | of_two_maps == set(layers.__all__)


@all_cases
def test_shapes(case, rng):
    layer, input_shape, output_shape = build(case)
    x = rng.normal(size=input_shape).astype("float32")
    assert layer.compute_output_shape(input_shape) == output_shape
    assert tuple(layer(x).shape) == output_shape
    symbolic = layer(keras.Input(input_shape[1:]))
    assert symbolic.shape == (None, *output_shape[1:])


@pytest.mark.tensorflow
@all_cases
@pytest.mark.parametrize("batch", [2, None])
def test_shapes_are_static_in_a_graph(case, batch):
    """What a TPU needs, and a phone: no dimension left open but an open batch."""
    import tensorflow as tf

    layer, input_shape, output_shape = build(case)
    layer.build(input_shape)
    traced = tf.function(layer).get_concrete_function(
        tf.TensorSpec((batch, *input_shape[1:]), "float32")
    )
    assert traced.output_shapes.as_list() == [batch, *output_shape[1:]]


@all_cases
def test_saved_and_loaded(case, rng, tmp_path):
    layer, input_shape, _ = build(case)
    inputs = keras.Input(input_shape[1:])
    model = keras.Model(inputs, layer(inputs))
    x = rng.normal(size=input_shape).astype("float32")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))
    again = loaded.layers[-1]
    assert json.dumps(again.get_config()) == json.dumps(layer.get_config())
    cls, arguments, _, _ = CASES[case]
    accepted = set(inspect.signature(cls.__init__).parameters) - {"self", "kwargs"}
    assert accepted <= set(layer.get_config())
    for argument in (
        "hidden_dim",
        "dropout_rate",
        "seed",
        "rate",
        "directions",
        "fusion",
        "mode",
        "use_bias",
    ):
        if argument in arguments:
            assert getattr(again, argument) == arguments[argument]
    for argument in ("kernel_initializer", "bias_initializer"):
        given, kept = arguments.get(argument), getattr(again, argument, None)
        if isinstance(given, keras.initializers.Initializer):
            assert kept.get_config() == given.get_config()
        elif given is not None:
            assert kept == given


@all_cases
def test_registered_under_the_package_name(case):
    layer, _, _ = build(case)
    name = keras.saving.get_registered_name(type(layer))
    assert name == f"keras_mixers>{type(layer).__name__}"


@all_cases
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_dtype_policies(case, policy, rng):
    cls, arguments, input_shape, _ = CASES[case]
    if "norm" in arguments:
        arguments = {**arguments, "norm": keras.layers.LayerNormalization(dtype=policy)}
    layer = cls(**arguments, dtype=policy)
    x = rng.normal(size=input_shape).astype("float32")
    y = layer(x, training=True) if "rate" in str(arguments) else layer(x)
    assert keras.backend.standardize_dtype(y.dtype) == policy.removeprefix("mixed_")
    for weight in layer.trainable_weights:
        assert weight.dtype == "float32"
    if "norm" in arguments:
        arguments = {**arguments, "norm": keras.layers.LayerNormalization()}
    exact = cls(**arguments, dtype="float32")
    exact.build(input_shape)
    exact.set_weights(layer.get_weights())
    expected = keras.ops.convert_to_numpy(exact(x))
    got = keras.ops.convert_to_numpy(keras.ops.cast(layer(x), "float32"))
    tolerance = {"float32": 1e-6, "mixed_bfloat16": 0.06, "mixed_float16": 0.006}[policy]
    np.testing.assert_allclose(got, expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("cls", [layers.TokenMixing, layers.ChannelMixing])
def test_equal_shapes_do_not_get_equal_kernels(cls):
    layer = cls(8, kernel_initializer=keras.initializers.LecunNormal())
    layer.build((None, 2, 4, 8))
    assert not np.array_equal(*(dense.get_weights()[0] for dense in (layer.fc1, layer.fc2)))


def test_fan_in_uniform_is_pytorchs_default():
    layer = layers.ChannelMixing(400, **FAN_IN)
    layer.build((None, 1, 1, 100))
    for dense, fan_in in ((layer.fc1, 100), (layer.fc2, 400)):
        for values in dense.get_weights():
            limit = fan_in**-0.5
            assert 0.9 * limit < np.abs(values).max() <= limit
            assert abs(np.std(values) - limit / 3**0.5) < 0.1 * limit
