"""`weights=` takes the files of this very model and no others."""

import keras
import numpy as np
import pytest

from tests import reference
from tests.helpers.sampling import extended
from tests.models.small import FAMILIES, SHORT, build, images, outputs

every_family = pytest.mark.parametrize("family", FAMILIES)


@every_family
@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_weights_from_a_file(family, suffix, rng, tmp_path):
    model = build(family, **SHORT[family])
    reference.randomize(model, rng)
    path = tmp_path / f"model{suffix}"
    model.save(path) if suffix == ".keras" else model.save_weights(path)
    x = images(model, rng)
    for weights in (path, str(path)):
        loaded = build(family, **SHORT[family], weights=weights)
        np.testing.assert_array_equal(outputs(loaded, x), outputs(model, x))


@every_family
def test_weights_do_not_depend_on_the_drop_path_rate(family, rng, tmp_path):
    """Weights trained with stochastic depth load for inference, and the other way round."""
    for saved_rate, loaded_rate in ((0.2, 0.0), (0.0, 0.2)):
        model = build(family, drop_path_rate=saved_rate)
        reference.randomize(model, rng)
        model.save_weights(tmp_path / "model.weights.h5")
        loaded = build(family, drop_path_rate=loaded_rate, weights=tmp_path / "model.weights.h5")
        x = images(model, rng)
        np.testing.assert_array_equal(outputs(loaded, x), outputs(model, x))


@every_family
def test_weights_of_another_model_are_refused(family, tmp_path):
    build(family, hidden_dim=4).save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(ValueError, match="`weights` must hold the weights of this very model"):
        build(family, weights=tmp_path / "other.weights.h5")


DEEPER = {
    "mlp_mixer": dict(num_blocks=4),
    "s2_mlp": dict(num_blocks=4),
    "smlpnet": dict(depths=(1, 2, 2)),
}


@every_family
@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_weights_of_a_deeper_model_are_refused(family, suffix, tmp_path):
    """Keras by itself would load the first blocks and ignore the others."""
    model = build(family, **DEEPER[family])
    path = tmp_path / f"deeper{suffix}"
    model.save(path) if suffix == ".keras" else model.save_weights(path)
    with pytest.raises(ValueError, match="it holds besides"):
        build(family, weights=path)


def test_weights_of_another_fusion_are_refused(tmp_path):
    build("smlpnet").save_weights(tmp_path / "concat.weights.h5")
    with pytest.raises(ValueError, match="`weights` must hold the weights of this very model"):
        build("smlpnet", fusion="sum", weights=tmp_path / "concat.weights.h5")


@every_family
def test_weights_with_a_head_serve_a_model_without_the_top(family, rng, tmp_path):
    model = build(family, **SHORT[family])
    reference.randomize(model, rng)
    model.save_weights(tmp_path / "top.weights.h5")
    without_top = dict(include_top=False, weights=tmp_path / "top.weights.h5")
    features = build(family, **SHORT[family], **without_top)
    tapped = keras.Model(model.input, model.layers[-3].output)
    x = images(model, rng)
    np.testing.assert_array_equal(outputs(features, x), outputs(tapped, x))
    features.save_weights(tmp_path / "features.weights.h5")
    with pytest.raises(ValueError, match="it lacks layers/dense/vars/0"):
        build(family, **SHORT[family], weights=tmp_path / "features.weights.h5")


@pytest.mark.parametrize("family", ["mlp_mixer", *extended("s2_mlp", "smlpnet")])
def test_weights_of_a_trained_model(family, rng, tmp_path):
    """Beside the weights, such a .keras file holds the optimizer's state."""
    model = build(family, **SHORT[family])
    model.compile(optimizer="adam", loss="mse")
    x = images(model, rng)
    model.fit(x, np.zeros((2, 5)), verbose=0)
    model.save(tmp_path / "trained.keras")
    loaded = build(family, **SHORT[family], weights=tmp_path / "trained.keras")
    np.testing.assert_array_equal(outputs(loaded, x), outputs(model, x))


@every_family
def test_a_file_that_holds_no_weights_is_refused(family, tmp_path):
    for suffix in (".weights.h5", ".keras"):
        (tmp_path / f"text{suffix}").write_text("not what it says")
        with pytest.raises(ValueError, match="`weights` must be a file of weights"):
            build(family, weights=tmp_path / f"text{suffix}")


@keras.saving.register_keras_serializable(package="test_weight_files")
def own_activation(x):
    return keras.ops.tanh(x)


@pytest.mark.parametrize(
    ("family", "theirs", "said"),
    [
        ("s2_mlp", {"directions": "eight"}, "directions='eight' in its layer 'block_0_spatial"),
        ("mlp_mixer", {"activation": own_activation}, "activation=a function of its own in its"),
        ("mlp_mixer", {"epsilon": 1e-3}, "epsilon=0.001 in its layer 'block_0_token_norm'"),
    ],
)
def test_what_weights_do_not_show_is_said_in_a_line(family, theirs, said, tmp_path, caplog):
    """Both models have weights of the same shapes, and compute something else."""
    model = build(
        family, **{**SHORT[family], **{k: v for k, v in theirs.items() if k != "epsilon"}}
    )
    if "epsilon" in theirs:
        model.get_layer("block_0_token_norm").epsilon = theirs["epsilon"]
    model.save(tmp_path / "theirs.keras")
    build(family, **SHORT[family], weights=tmp_path / "theirs.keras")
    assert caplog.text.count("their source computes with") == 1
    assert said in caplog.text
    caplog.clear()
    build(family, **SHORT[family]).save(tmp_path / "ours.keras")
    build(family, **SHORT[family], weights=tmp_path / "ours.keras")
    assert caplog.text == ""
