"""Files of other codebases give the numbers of the other code, block by block."""

import keras
import numpy as np
import pytest

import keras_mixers
from tests.models.small import outputs
from tests.weights import foreign

MIXER = dict(blocks=3, grid=(3, 3), patch=4, dim=8, tokens_dim=10, channels_dim=12, classes=5)
SMLPNET = dict(depths=(1, 2), side=16, patch=2, dim=6, ratio=3, classes=5)


def build_mixer(**kwargs):
    sizes = dict(patch_size=4, hidden_dim=8, num_blocks=3, tokens_mlp_dim=10, channels_mlp_dim=12)
    shape = dict(input_shape=(12, 12, 3), classes=5, classifier_activation=None)
    scaled = dict(include_preprocessing=False)
    return keras_mixers.MLPMixer(**(sizes | shape | scaled | kwargs))


def build_smlpnet(**kwargs):
    sizes = dict(patch_size=2, hidden_dim=6, depths=(1, 2))
    shape = dict(input_shape=(16, 16, 3), classes=5, classifier_activation=None)
    scaled = dict(include_preprocessing=False)
    return keras_mixers.SMLPNet(**(sizes | shape | scaled | kwargs))


def write(path, arrays):
    if path.suffix == ".safetensors":
        safetensors = pytest.importorskip("safetensors.numpy")
        safetensors.save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, path)
    else:
        np.savez(path, **arrays)
    return path


def compare(model, expected, images):
    maps, logits = expected
    tapped = [model.get_layer(f"block_{i}_channel_add").output for i in range(len(maps))]
    found = outputs(keras.Model(model.input, [*tapped, model.output]), images)
    for ours, theirs in zip(found, [*maps, logits], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("wrapped", ["", "params/", "opt/target/"])
@pytest.mark.parametrize("generation", ["newer", "older"])
def test_google(generation, wrapped, rng, tmp_path):
    arrays = foreign.random_arrays(foreign.google_shapes(**MIXER), rng)
    images = rng.normal(size=(2, 12, 12, 3))
    named = arrays if generation == "newer" else foreign.older_google(arrays)
    stored = {wrapped + name: value for name, value in named.items()}
    stored |= {"step": np.float32(7), "epoch": np.float32(3)}
    if wrapped:
        stored |= {"opt/state/step": np.float32(7), "opt/state/stem": np.zeros(3, "float32")}
    model = build_mixer(weights=write(tmp_path / "google.npz", stored))
    compare(model, foreign.google_forward(arrays, images), images)


def test_google_of_one_position(rng, tmp_path):
    """Whose older names carry axes of length 1 beside a side of 1."""
    arrays = foreign.random_arrays(foreign.google_shapes(**MIXER | dict(grid=(1, 1))), rng)
    for named in (foreign.older_google(arrays), arrays):
        path = write(tmp_path / "google.npz", named)
        model = build_mixer(input_shape=(4, 4, 3), weights=path)
        kernel = model.get_layer("block_1_token_mixing").fc1.kernel
        np.testing.assert_array_equal(kernel, arrays["MixerBlock_1/token_mixing/Dense_0/kernel"])


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_timm(suffix, rng, tmp_path):
    arrays = foreign.random_arrays(foreign.timm_shapes(**MIXER), rng)
    images = rng.normal(size=(2, 12, 12, 3))
    model = build_mixer(weights=write(tmp_path / f"timm{suffix}", arrays))
    compare(model, foreign.timm_forward(arrays, images), images)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "net.model."])
def test_names_of_wrapped_models(prefix, rng, tmp_path):
    arrays = foreign.random_arrays(foreign.timm_shapes(**MIXER), rng)
    images = rng.normal(size=(2, 12, 12, 3))
    wrapped = {prefix + name: value for name, value in arrays.items()}
    model = build_mixer(weights=write(tmp_path / "timm.safetensors", wrapped))
    compare(model, foreign.timm_forward(arrays, images), images)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_spach(suffix, rng, tmp_path):
    arrays = foreign.random_arrays(foreign.spach_shapes(**SMLPNET), rng)
    images = rng.normal(size=(2, 16, 16, 3))
    stored = arrays | {"token_mix.0.1.BN.num_batches_tracked": np.array(3)}
    model = build_smlpnet(weights=write(tmp_path / f"spach{suffix}", stored))
    compare(model, foreign.spach_forward(arrays, images, SMLPNET["depths"]), images)
