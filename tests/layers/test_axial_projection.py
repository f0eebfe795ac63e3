import numpy as np
import pytest

from keras_mixers import layers
from tests import reference
from tests.layers.gradients import agrees_with_differences, in_training

ALL = [
    (fusion, identity, mode)
    for fusion in ("concat", "sum", "weighted_sum")
    for identity in (True, False)
    for mode in ("parallel", "sequential")
]


def expected_output(x, w, fusion, identity, mode):
    along_width = reference.mix_width(x, w, "a")
    if mode == "parallel":
        branches = [along_width, reference.mix_height(x, w, "a")]
    else:
        branches = [reference.mix_height(along_width, w, "a")]
    branches = [x, *branches] if identity else branches
    if fusion == "concat":
        return np.concatenate(branches, axis=-1) @ w["a/fuse/kernel"]
    scales = w["a/branch_weights"] if fusion == "weighted_sum" else [1, 1, 1]
    return sum(scale * branch for scale, branch in zip(scales, branches, strict=False))


@pytest.mark.parametrize(("fusion", "identity", "mode"), ALL)
def test_agrees_with_numpy(fusion, identity, mode, rng):
    layer = layers.AxialProjection(fusion, identity, mode, name="a")
    layer.build((None, 3, 4, 5))
    layer.set_weights([rng.normal(size=w.shape) for w in layer.weights])
    weights = {w.path: np.array(w, "float64") for w in layer.weights}
    x = rng.normal(size=(2, 3, 4, 5))
    got = layer(x.astype("float32"))
    expected = expected_output(x, weights, fusion, identity, mode)
    np.testing.assert_allclose(got, expected, atol=2e-5)


@pytest.mark.parametrize("mode", ["parallel", "sequential"])
def test_training_agrees_with_numpy_too(mode, rng):
    """Values and gradients, which training computes in another way than inference."""
    layer = layers.AxialProjection(mode=mode, bias_initializer="fan_in_uniform", name="a")
    x, upstream = rng.normal(size=(2, 2, 3, 4, 5))
    values, found = in_training(layer, x.astype("float32"), upstream.astype("float32"))
    weights = {w.path: np.array(w, "float64") for w in layer.weights}

    def compute():
        return expected_output(x, weights, "concat", True, mode)

    np.testing.assert_allclose(values, compute(), atol=3e-6)
    for array, gradient in zip([*weights.values(), x], found, strict=True):
        agrees_with_differences(gradient, lambda: (compute() * upstream).sum(), array, rng)


@pytest.mark.parametrize(("fusion", "identity", "mode"), ALL)
def test_parameters(fusion, identity, mode):
    layer = layers.AxialProjection(fusion, identity, mode)
    layer.build((None, 3, 4, 5))
    branches = identity + (2 if mode == "parallel" else 1)
    fuse = {"concat": branches * 5 * 5, "sum": 0, "weighted_sum": branches}[fusion]
    assert layer.count_params() == (3 * 3 + 3) + (4 * 4 + 4) + fuse


def test_weighted_sum_starts_as_the_sum(rng):
    x = rng.normal(size=(1, 3, 4, 5)).astype("float32")
    weighted, plain = layers.AxialProjection("weighted_sum"), layers.AxialProjection("sum")
    y = weighted(x)
    plain.build(x.shape)
    plain.set_weights(_without_scales(weighted))
    np.testing.assert_allclose(y, plain(x), atol=1e-6)


def _without_scales(layer):
    return [np.array(w) for w in layer.weights if w.name != "branch_weights"]


@pytest.mark.parametrize(
    ("argument", "value"), [("fusion", "add"), ("mode", "serial"), ("include_identity", "no")]
)
def test_bad_arguments(argument, value):
    with pytest.raises(ValueError, match=rf"`{argument}` must be one of .*{argument}='{value}'"):
        layers.AxialProjection(**{argument: value})
