"""Weights of timm's own models give timm's own logits, where timm and PyTorch are installed."""

import numpy as np
import pytest

import keras_mixers
from keras_mixers import weights as weight_files
from tests import reference
from tests.models.small import outputs

pytestmark = pytest.mark.slow

NAMES = {"S32": "mixer_s32_224", "S16": "mixer_s16_224", "B16": "mixer_b16_224"}


@pytest.fixture
def timm():
    pytest.importorskip("torch")
    return pytest.importorskip("timm")


def random_images(rng):
    return rng.uniform(-1, 1, size=(4, 224, 224, 3)).astype("float32")


def logits_of(model, images):
    import torch

    with torch.no_grad():
        return model.eval()(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()


def randomize(model, rng):
    """No zeros and no ones, sizes as after a training: logits of about 1."""
    import torch

    for name, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        if len(shape) > 1:
            value = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape)
        else:
            value = rng.normal(1.0 if "norm" in name and "weight" in name else 0.0, 0.2, shape)
        parameter.data = torch.from_numpy(value.astype("float32"))


@pytest.mark.parametrize("size", NAMES)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".npz"])
def test_theirs_in_ours(size, suffix, timm, rng, tmp_path):
    import torch
    from safetensors.torch import save_file

    theirs = timm.create_model(NAMES[size])
    randomize(theirs, rng)
    path = tmp_path / f"timm{suffix}"
    if suffix == ".safetensors":
        save_file(theirs.state_dict(), path)
    elif suffix == ".pth":
        torch.save(theirs.state_dict(), path)
    else:
        np.savez(path, **{k: v.numpy() for k, v in theirs.state_dict().items()})
    build = getattr(keras_mixers, f"MLPMixer{size}")
    ours = build(weights=path, classifier_activation=None, include_preprocessing=False)
    images = random_images(rng)
    expected = logits_of(theirs, images)
    assert expected.std() > 0.1
    difference = np.abs(outputs(ours, images) - expected).max()
    print(f"{size}, {suffix}: largest difference {difference:.1e} of {np.abs(expected).max():.1f}")
    assert difference < 2e-5


@pytest.mark.parametrize("size", NAMES)
def test_ours_in_theirs(size, timm, rng, tmp_path):
    from safetensors.torch import load_file

    build = getattr(keras_mixers, f"MLPMixer{size}")
    ours = build(classifier_activation=None, activation="gelu", include_preprocessing=False)
    reference.randomize(ours, rng)
    weight_files.save(ours, tmp_path / "ours.safetensors")
    theirs = timm.create_model(NAMES[size])
    theirs.load_state_dict(load_file(tmp_path / "ours.safetensors"), strict=True)
    images = random_images(rng)
    difference = np.abs(outputs(ours, images) - logits_of(theirs, images)).max()
    assert difference < 2e-5
