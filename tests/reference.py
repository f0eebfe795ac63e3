"""The papers' formulas in plain NumPy (float64), to compare layers and models with.

Nothing here comes from keras_mixers. `w` maps a weight's path in the model, such as
`block_0_token_mixing/fc1/kernel`, to its values.
"""

import math

import numpy as np


def randomize(model, rng):
    """Gives every weight of a model a random value, none of them 0 or 1; returns them by path."""
    values = {}
    for weight in model.weights:
        if "seed_generator" in weight.path:
            continue
        if "variance" in weight.path:
            value = rng.uniform(0.5, 2.0, weight.shape)
        elif "gamma" in weight.path:
            value = rng.uniform(0.5, 1.5, weight.shape)
        elif "kernel" in weight.path:
            fan_in = math.prod(weight.shape[:-1])
            value = rng.normal(0, fan_in**-0.5, weight.shape)
        else:
            value = rng.normal(0, 0.3, weight.shape)
        weight.assign(value.astype("float32"))
        values[weight.path] = value.astype("float32").astype("float64")
    return values


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def layer_norm(x, w, name, epsilon):
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * w[f"{name}/gamma"] + w[f"{name}/beta"]


def batch_norm(x, w, name, epsilon):
    mean, variance = w[f"{name}/moving_mean"], w[f"{name}/moving_variance"]
    return (x - mean) / np.sqrt(variance + epsilon) * w[f"{name}/gamma"] + w[f"{name}/beta"]


def dense(x, w, name):
    return x @ w[f"{name}/kernel"] + w.get(f"{name}/bias", 0.0)


def patches(x, w, name, patch):
    """Each patch, row by row of pixels, times the kernel."""
    batch, height, width, _ = x.shape
    kernel = w[f"{name}/projection/kernel"]
    kernel = kernel.reshape(-1, kernel.shape[-1])
    y = np.zeros((batch, height // patch, width // patch, kernel.shape[-1]))
    for i in range(height // patch):
        for j in range(width // patch):
            piece = x[:, i * patch : (i + 1) * patch, j * patch : (j + 1) * patch]
            y[:, i, j] = piece.reshape(batch, -1) @ kernel
    return y + w.get(f"{name}/projection/bias", 0.0)


def token_mixing(x, w, name, activation):
    """One perceptron over the positions, row by row, the same for every channel."""
    batch, height, width, channels = x.shape
    y = np.zeros_like(x)
    for channel in range(channels):
        tokens = x[..., channel].reshape(batch, height * width)
        tokens = dense(activation(dense(tokens, w, f"{name}/fc1")), w, f"{name}/fc2")
        y[..., channel] = tokens.reshape(batch, height, width)
    return y


def channel_mixing(x, w, name, activation):
    return dense(activation(dense(x, w, f"{name}/fc1")), w, f"{name}/fc2")


FOUR = ((0, 1), (0, -1), (1, 0), (-1, 0))


def spatial_shift(x, steps=FOUR):
    """Position by position: the value of the neighbor, or one's own where there is none."""
    _, height, width, channels = x.shape
    size = channels // len(steps)
    y = x.copy()
    for channel in range(channels):
        rows, columns = steps[min(channel // size, len(steps) - 1)]
        for i in range(height):
            for j in range(width):
                if 0 <= i - rows < height and 0 <= j - columns < width:
                    y[:, i, j, channel] = x[:, i - rows, j - columns, channel]
    return y


def mix_width(x, w, name):
    kernel, bias = w[f"{name}/width_projection/kernel"], w[f"{name}/width_projection/bias"]
    return np.einsum("bhwc,wv->bhvc", x, kernel) + bias[:, None]


def mix_height(x, w, name):
    kernel, bias = w[f"{name}/height_projection/kernel"], w[f"{name}/height_projection/bias"]
    return np.einsum("bhwc,hg->bgwc", x, kernel) + bias[:, None, None]


def axial_projection(x, w, name):
    branches = [x, mix_width(x, w, name), mix_height(x, w, name)]
    return dense(np.concatenate(branches, axis=-1), w, f"{name}/fuse")


def depthwise(x, w, name):
    """3x3, zeros around, one kernel per channel."""
    kernel = w[f"{name}/kernel"][..., 0]
    _, height, width, _ = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return sum(
        padded[:, i : i + height, j : j + width] * kernel[i, j] for i in range(3) for j in range(3)
    )


def patch_merging(x, w, name):
    neighbors = [x[:, 0::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 0::2], x[:, 1::2, 1::2]]
    return dense(np.concatenate(neighbors, axis=-1), w, f"{name}/projection")


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def mlp_mixer(x, w, patch, blocks, activation=gelu_tanh):
    """Outputs of every layer of interest, by the name of the model's layer."""
    out = {}
    out["stem"] = x = patches(x, w, "stem", patch)
    for i in range(blocks):
        b = f"block_{i}"
        y = layer_norm(x, w, f"{b}_token_norm", 1e-6)
        out[f"{b}_token_mixing"] = y = token_mixing(y, w, f"{b}_token_mixing", activation)
        out[f"{b}_token_add"] = x = x + y
        y = layer_norm(x, w, f"{b}_channel_norm", 1e-6)
        out[f"{b}_channel_mixing"] = y = channel_mixing(y, w, f"{b}_channel_mixing", activation)
        out[f"{b}_channel_add"] = x = x + y
    out["pre_head_layer_norm"] = x = layer_norm(x, w, "pre_head_layer_norm", 1e-6)
    out["head"] = softmax(dense(x.mean(axis=(1, 2)), w, "head"))
    return out


def s2_mlp(x, w, patch, blocks, steps=FOUR):
    out = {}
    out["stem"] = x = patches(x, w, "stem", patch)
    for i in range(blocks):
        b = f"block_{i}"
        y = layer_norm(x, w, f"{b}_shift_norm", 1e-5)
        y = gelu(dense(y, w, f"{b}_shift_fc1"))
        out[f"{b}_spatial_shift"] = y = spatial_shift(y, steps)
        out[f"{b}_shift_add"] = x = x + dense(y, w, f"{b}_shift_fc2")
        y = layer_norm(x, w, f"{b}_channel_norm", 1e-5)
        out[f"{b}_channel_mixing"] = y = channel_mixing(y, w, f"{b}_channel_mixing", gelu)
        out[f"{b}_channel_add"] = x = x + y
    out["head"] = softmax(dense(x.mean(axis=(1, 2)), w, "head"))
    return out


def smlpnet(x, w, patch, depths):
    out = {}
    out["stem"] = x = patches(x, w, "stem", patch)
    i = 0
    for stage, depth in enumerate(depths):
        if stage:
            out[f"stage_{stage}_merging"] = x = patch_merging(x, w, f"stage_{stage}_merging")
        for _ in range(depth):
            b = f"block_{i}"
            y = gelu(batch_norm(x, w, f"{b}_depthwise_norm", 1e-5))
            out[f"{b}_depthwise_conv"] = y = depthwise(y, w, f"{b}_depthwise_conv")
            y = gelu(batch_norm(y, w, f"{b}_axial_norm", 1e-5))
            out[f"{b}_axial_projection"] = y = axial_projection(y, w, f"{b}_axial_projection")
            out[f"{b}_axial_add"] = x = x + y
            y = layer_norm(x, w, f"{b}_channel_norm", 1e-5)
            out[f"{b}_channel_mixing"] = y = channel_mixing(y, w, f"{b}_channel_mixing", gelu)
            out[f"{b}_channel_add"] = x = x + y
            i += 1
    out["pre_head_batch_norm"] = x = batch_norm(x, w, "pre_head_batch_norm", 1e-5)
    out["head"] = softmax(dense(x.mean(axis=(1, 2)), w, "head"))
    return out
