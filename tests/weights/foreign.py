"""Files of other codebases: random arrays under their names, and their forward passes in NumPy.

Written from the other codes' definitions, in their names and layouts; nothing here comes from
keras_mixers. Every pass returns the feature maps after each block, as (batch, height, width,
channels), and the logits.
"""

import numpy as np

from tests.reference import gelu, gelu_tanh


def random_arrays(shapes, rng):
    """Values none of which is 0 or 1, of a size at which activations neither vanish nor grow."""
    arrays = {}
    for name, shape in shapes.items():
        if "running_var" in name:
            value = rng.uniform(0.5, 2.0, shape)
        elif len(shape) > 1:
            value = rng.normal(0, 0.2, shape)
        else:
            value = rng.normal(0.6, 0.3, shape)
        arrays[name] = value.astype("float32")
    return arrays


def _normalized(x, epsilon, axis=-1):
    mean = x.mean(axis=axis, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(axis=axis, keepdims=True) + epsilon)


# Google's: vit_jax/models_mixer.py.


def google_shapes(blocks, grid, patch, dim, tokens_dim, channels_dim, classes):
    tokens = grid[0] * grid[1]
    shapes = {"stem/kernel": (patch, patch, 3, dim), "stem/bias": (dim,)}
    for i in range(blocks):
        block = f"MixerBlock_{i}"
        for norm in ("LayerNorm_0", "LayerNorm_1"):
            shapes |= {f"{block}/{norm}/scale": (dim,), f"{block}/{norm}/bias": (dim,)}
        for mlp, outer, inner in (
            ("token_mixing", tokens, tokens_dim),
            ("channel_mixing", dim, channels_dim),
        ):
            shapes |= {
                f"{block}/{mlp}/Dense_0/kernel": (outer, inner),
                f"{block}/{mlp}/Dense_0/bias": (inner,),
                f"{block}/{mlp}/Dense_1/kernel": (inner, outer),
                f"{block}/{mlp}/Dense_1/bias": (outer,),
            }
    return shapes | {
        "pre_head_layer_norm/scale": (dim,),
        "pre_head_layer_norm/bias": (dim,),
        "head/kernel": (dim, classes),
        "head/bias": (classes,),
    }


def google_forward(w, images):
    def norm(x, name):
        return _normalized(x, 1e-6) * w[f"{name}/scale"] + w[f"{name}/bias"]

    def mlp(x, name):
        x = gelu_tanh(x @ w[f"{name}/Dense_0/kernel"] + w[f"{name}/Dense_0/bias"])
        return x @ w[f"{name}/Dense_1/kernel"] + w[f"{name}/Dense_1/bias"]

    kernel = w["stem/kernel"]
    patch, _, _, dim = kernel.shape
    batch, height, width, _ = images.shape
    grid = (height // patch, width // patch)
    cut = images.reshape(batch, grid[0], patch, grid[1], patch, 3)
    x = np.einsum("bhpwqc,pqcd->bhwd", cut, kernel) + w["stem/bias"]
    x = x.reshape(batch, -1, dim)
    maps = []
    for i in range(sum(name.endswith("LayerNorm_0/scale") for name in w)):
        y = norm(x, f"MixerBlock_{i}/LayerNorm_0").transpose(0, 2, 1)
        x = x + mlp(y, f"MixerBlock_{i}/token_mixing").transpose(0, 2, 1)
        x = x + mlp(norm(x, f"MixerBlock_{i}/LayerNorm_1"), f"MixerBlock_{i}/channel_mixing")
        maps.append(x.reshape(batch, *grid, dim))
    x = norm(x, "pre_head_layer_norm").mean(axis=1)
    return maps, x @ w["head/kernel"] + w["head/bias"]


def older_google(w):
    """The same arrays in the names and shapes from before 2021, as big_vision still reads them."""
    older = {}
    for name, value in w.items():
        first, *rest = name.split("/")
        if first == "stem":
            older[f"embedding/{rest[0]}"] = value
        elif first == "pre_head_layer_norm":
            older[f"Mixer/encoder_norm/{rest[0]}"] = value
        elif first == "head":
            older[name] = value
        else:
            block = f"Mixer/encoderblock_{first.removeprefix('MixerBlock_')}"
            if rest[0].startswith("LayerNorm"):
                older[f"{block}/{rest[0]}/{rest[1]}"] = value
            else:
                number = int(rest[1].removeprefix("Dense_")) + 1
                # They may carry an axis of length 1.
                older[f"{block}/{rest[0]}_phase_0/{rest[2]}{number}"] = value[None]
    return older


# timm's: timm/models/mlp_mixer.py, in PyTorch's layouts.


def timm_shapes(blocks, grid, patch, dim, tokens_dim, channels_dim, classes):
    tokens = grid[0] * grid[1]
    shapes = {"stem.proj.weight": (dim, 3, patch, patch), "stem.proj.bias": (dim,)}
    for i in range(blocks):
        block = f"blocks.{i}"
        for norm in ("norm1", "norm2"):
            shapes |= {f"{block}.{norm}.weight": (dim,), f"{block}.{norm}.bias": (dim,)}
        for mlp, outer, inner in (
            ("mlp_tokens", tokens, tokens_dim),
            ("mlp_channels", dim, channels_dim),
        ):
            shapes |= {
                f"{block}.{mlp}.fc1.weight": (inner, outer),
                f"{block}.{mlp}.fc1.bias": (inner,),
                f"{block}.{mlp}.fc2.weight": (outer, inner),
                f"{block}.{mlp}.fc2.bias": (outer,),
            }
    return shapes | {
        "norm.weight": (dim,),
        "norm.bias": (dim,),
        "head.weight": (classes, dim),
        "head.bias": (classes,),
    }


def timm_forward(w, images):
    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x, name):
        return _normalized(x, 1e-6) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def mlp(x, name):
        return linear(gelu(linear(x, f"{name}.fc1")), f"{name}.fc2")

    kernel = w["stem.proj.weight"]
    dim, _, patch, _ = kernel.shape
    batch, height, width, _ = images.shape
    grid = (height // patch, width // patch)
    cut = images.reshape(batch, grid[0], patch, grid[1], patch, 3)
    x = np.einsum("bhpwqc,dcpq->bhwd", cut, kernel) + w["stem.proj.bias"]
    x = x.reshape(batch, -1, dim)
    maps = []
    for i in range(sum(name.endswith("norm1.weight") for name in w)):
        y = norm(x, f"blocks.{i}.norm1").transpose(0, 2, 1)
        x = x + mlp(y, f"blocks.{i}.mlp_tokens").transpose(0, 2, 1)
        x = x + mlp(norm(x, f"blocks.{i}.norm2"), f"blocks.{i}.mlp_channels")
        maps.append(x.reshape(batch, *grid, dim))
    return maps, linear(norm(x, "norm").mean(axis=1), "head")


# SPACH's sMLPNet: models/smlp.py, in PyTorch's layouts: maps are (batch, channels, height, width).


def spach_shapes(depths, side, patch, dim, ratio, classes):
    shapes, n = {}, 0
    for stage, depth in enumerate(depths):
        if stage == 0:
            shapes["to_patch_embedding.0.0.weight"] = (dim, 3, patch, patch)
            side //= patch
        else:
            shapes[f"to_patch_embedding.{stage}.0.weight"] = (2 * dim, dim, 2, 2)
            side, dim = side // 2, 2 * dim
        for _ in range(depth):
            token, channel = f"token_mix.{n}", f"channel_mix.{n}"
            shapes |= {
                **_batch_norm_shapes(f"{token}.0.conv_merge.BN", dim),
                f"{token}.0.conv_merge.Conv.weight": (dim, 1, 3, 3),
                **_batch_norm_shapes(f"{token}.1.BN", dim),
                f"{token}.1.proj_h.weight": (side, side, 1, 1),
                f"{token}.1.proj_h.bias": (side,),
                f"{token}.1.proh_w.weight": (side, side, 1, 1),
                f"{token}.1.proh_w.bias": (side,),
                f"{token}.1.fuse.weight": (dim, 3 * dim, 1, 1),
                f"{channel}.1.weight": (dim,),
                f"{channel}.1.bias": (dim,),
                f"{channel}.2.net.0.weight": (ratio * dim, dim),
                f"{channel}.2.net.0.bias": (ratio * dim,),
                f"{channel}.2.net.3.weight": (dim, ratio * dim),
                f"{channel}.2.net.3.bias": (dim,),
            }
            n += 1
    return shapes | {
        **_batch_norm_shapes("batch_norm", dim),
        "mlp_head.0.weight": (classes, dim),
        "mlp_head.0.bias": (classes,),
    }


def _batch_norm_shapes(name, dim):
    return {f"{name}.{part}": (dim,) for part in ("weight", "bias", "running_mean", "running_var")}


def spach_forward(w, images, depths):
    def column(name):
        return w[name][:, None, None]

    def batch_norm(x, name):
        x = (x - column(f"{name}.running_mean")) / np.sqrt(column(f"{name}.running_var") + 1e-5)
        return x * column(f"{name}.weight") + column(f"{name}.bias")

    def depthwise(x, kernel):
        height, width = x.shape[2:]
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        return sum(
            padded[:, :, i : i + height, j : j + width] * kernel[:, 0, i, j][:, None, None]
            for i in range(3)
            for j in range(3)
        )

    def strided(x, kernel):
        batch, channels, height, width = x.shape
        step = kernel.shape[-1]
        cut = x.reshape(batch, channels, height // step, step, width // step, step)
        return np.einsum("bchpwq,dcpq->bdhw", cut, kernel)

    def sparse_mlp(x, name):
        x = gelu(batch_norm(x, f"{name}.BN"))
        # proj_h is applied to maps whose width has become the channels, proh_w to the height.
        along_width = np.einsum("bchw,vw->bchv", x, w[f"{name}.proj_h.weight"][:, :, 0, 0])
        along_width += w[f"{name}.proj_h.bias"]
        along_height = np.einsum("bchw,gh->bcgw", x, w[f"{name}.proh_w.weight"][:, :, 0, 0])
        along_height += w[f"{name}.proh_w.bias"][:, None]
        merged = np.concatenate([x, along_width, along_height], axis=1)
        return np.einsum("bchw,dc->bdhw", merged, w[f"{name}.fuse.weight"][:, :, 0, 0])

    def channel_mlp(x, name):
        x = x.transpose(0, 2, 3, 1)
        x = _normalized(x, 1e-5) * w[f"{name}.1.weight"] + w[f"{name}.1.bias"]
        x = gelu(x @ w[f"{name}.2.net.0.weight"].T + w[f"{name}.2.net.0.bias"])
        x = x @ w[f"{name}.2.net.3.weight"].T + w[f"{name}.2.net.3.bias"]
        return x.transpose(0, 3, 1, 2)

    x, maps, n = images.transpose(0, 3, 1, 2), [], 0
    for stage, depth in enumerate(depths):
        x = strided(x, w[f"to_patch_embedding.{stage}.0.weight"])
        for _ in range(depth):
            y = gelu(batch_norm(x, f"token_mix.{n}.0.conv_merge.BN"))
            y = depthwise(y, w[f"token_mix.{n}.0.conv_merge.Conv.weight"])
            x = x + sparse_mlp(y, f"token_mix.{n}.1")
            x = x + channel_mlp(x, f"channel_mix.{n}")
            maps.append(x.transpose(0, 2, 3, 1))
            n += 1
    x = batch_norm(x, "batch_norm").mean(axis=(2, 3))
    return maps, x @ w["mlp_head.0.weight"].T + w["mlp_head.0.bias"]
