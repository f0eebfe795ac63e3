"""PyTorch's files as people have them: of training scripts, wrapped, with objects of all kinds."""

import argparse
import collections
import dataclasses
import datetime
import enum
import io
import os
import pathlib

import numpy as np
import pytest

from keras_mixers import weights as weight_files
from tests.weights.test_loading import FORMATS, assert_refused, made

torch = pytest.importorskip("torch")


class _Color(enum.Enum):
    RED = 1


@dataclasses.dataclass
class _Options:
    lr: float = 0.1


class _Slots:
    __slots__ = ("speed",)

    def __init__(self):
        self.speed = 3


class _Settings(dict):
    pass


class _Writes:
    """Where it is opened by an ordinary reader, a file is left."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return io.open, (str(self._path), "w")


class _Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)


def tensors_of(arrays):
    return collections.OrderedDict((k, torch.from_numpy(v)) for k, v in arrays.items())


def bias(model):
    return np.asarray(model.get_layer("head").bias)


# SPACH's main.py, https://github.com/microsoft/SPACH, which goes back to DeiT's.
def as_spach_writes(weights, averaged):
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))])
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    return {
        "model": weights,
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": schedule.state_dict(),
        "epoch": 299,
        "model_ema": averaged,
        "scaler": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 17},
        "args": argparse.Namespace(
            model="smlpnet_small", lr=1e-3, output_dir=pathlib.Path("/out"), eval=False, betas=None
        ),
    }


# timm's CheckpointSaver.
def as_timm_writes(weights, averaged):
    return {
        "epoch": 3,
        "arch": "mixer_b16_224",
        "state_dict": weights,
        "optimizer": {"state": {}, "param_groups": [{"lr": np.float64(0.1)}]},
        "version": 2,
        "args": argparse.Namespace(model="mixer_b16_224"),
        "amp_scaler": {"scale": 1.0},
        "state_dict_ema": averaged,
        "metric": np.float32(71.2),
    }


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("write", [as_spach_writes, as_timm_writes])
@pytest.mark.parametrize("kind", ["timm", "spach"])
def test_training_checkpoints(kind, write, legacy, rng, tmp_path, caplog):
    arrays, _, build = made(kind, rng)
    averaged = {k: v + np.float32(0.25) for k, v in arrays.items()}
    contents = write(tensors_of(arrays), tensors_of(averaged))
    path = tmp_path / "checkpoint.pth.tar"
    torch.save(contents, path, _use_new_zipfile_serialization=not legacy)
    model = build(weights=path)
    name = next(name for name in arrays if name in ("head.bias", "mlp_head.0.bias"))
    np.testing.assert_array_equal(bias(model), arrays[name])
    first, second = [key for key in contents if key.startswith(("model", "state_dict"))]
    assert f"weights: of the file's entries '{first}' is taken, not '{second}'\n" in caplog.text
    caplog.clear()
    weight_files.load(model, path, entry=second)
    np.testing.assert_array_equal(bias(model), averaged[name])
    assert "entries" not in caplog.text


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model.", "a.b."])
@pytest.mark.parametrize("kind", ["timm", "spach"])
def test_wrapped_models(kind, prefix, rng, tmp_path):
    arrays, _, build = made(kind, rng)
    path = tmp_path / "file.pth"
    torch.save({"state_dict": tensors_of({prefix + k: v for k, v in arrays.items()})}, path)
    model = build(weights=path)
    torch.save(tensors_of(arrays), path)
    for ours, plain in zip(model.weights, build(weights=path).weights, strict=True):
        np.testing.assert_array_equal(ours, plain)
    extra = {prefix + k: v for k, v in arrays.items()} | {"other.weight": np.ones(2, "float32")}
    torch.save(tensors_of(extra), path)
    assert_refused(model, path, "it holds besides other.weight")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "beside",
    [
        np.float64(71.2),
        np.arange(3),
        np.dtype("float32"),
        pathlib.PurePosixPath("/data"),
        datetime.datetime(2024, 5, 1),
        _Color.RED,
        _Options(),
        _Slots(),
        _Settings(a=1),
        collections.defaultdict(list, a=[1]),
        {1, 2},
        range(3),
        slice(1, 2),
        os.path.join,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_lies_beside_the_weights_does_not_matter(beside, legacy, rng, tmp_path):
    arrays, _, build = made("timm", rng)
    path = tmp_path / "file.pth"
    contents = {"model": tensors_of(arrays), "beside": beside, "list": [beside, {"a": beside}]}
    torch.save(contents, path, _use_new_zipfile_serialization=not legacy)
    np.testing.assert_array_equal(bias(build(weights=path)), arrays["head.bias"])


@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_in_it_runs(legacy, rng, tmp_path):
    arrays, _, build = made("timm", rng)
    path, left = tmp_path / "file.pth", tmp_path / "left"
    contents = {"model": tensors_of(arrays), "args": _Writes(left)}
    torch.save(contents, path, _use_new_zipfile_serialization=not legacy)
    np.testing.assert_array_equal(bias(build(weights=path)), arrays["head.bias"])
    assert not left.exists()
    torch.load(path, weights_only=False)["args"].close()
    assert left.exists()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("within", [lambda model: model, lambda model: {"model": model}])
def test_a_whole_model_is_refused_with_what_to_do(within, legacy, tmp_path):
    _, _, _, build = FORMATS["timm"]
    path = tmp_path / "file.pth"
    torch.save(within(_Model()), path, _use_new_zipfile_serialization=not legacy)
    name = "object" if legacy else r"tests\.weights\.test_torch_files\._Model"
    assert_refused(
        build(),
        path,
        rf"it holds a whole model, a pickled {name}, which cannot be opened without running code: "
        r".* torch\.save\(model\.state_dict\(\), 'weights\.pth'\)$",
    )


def test_what_its_reader_does_not_open_is_said(rng, tmp_path):
    arrays, _, build = made("timm", rng)
    path = tmp_path / "file.pth"
    torch.save({"model": tensors_of(arrays), "run": os.system}, path)
    assert_refused(build(), path, r"PyTorch does not open it: .* GLOBAL posix\.system .* blocked")
