"""MLP-Mixer-B/16 in Flax, written from the paper: https://arxiv.org/abs/2105.01601."""

import flax.linen as nn
import jax.numpy as jnp

_BLOCKS, _CHANNELS, _TOKENS_MLP, _CHANNELS_MLP = 12, 768, 384, 3072
_DROP_PATH = 0.1


class Perceptron(nn.Module):
    hidden: int

    @nn.compact
    def __call__(self, x):
        y = nn.gelu(nn.Dense(self.hidden, dtype=jnp.bfloat16)(x))
        return nn.Dense(x.shape[-1], dtype=jnp.bfloat16)(y)


class Block(nn.Module):
    drop_path: float

    @nn.compact
    def __call__(self, x, training):
        drop = nn.Dropout(self.drop_path, broadcast_dims=(1, 2), deterministic=not training)
        y = nn.LayerNorm(dtype=jnp.bfloat16)(x)
        y = Perceptron(_TOKENS_MLP, name="tokens")(jnp.swapaxes(y, 1, 2))
        x = x + drop(jnp.swapaxes(y, 1, 2))
        y = nn.LayerNorm(dtype=jnp.bfloat16)(x)
        return x + drop(Perceptron(_CHANNELS_MLP, name="channels")(y))


class MixerB16(nn.Module):
    @nn.compact
    def __call__(self, x, training):
        x = nn.Conv(_CHANNELS, (16, 16), strides=(16, 16), dtype=jnp.bfloat16)(x)
        x = x.reshape(x.shape[0], -1, _CHANNELS)
        for i in range(_BLOCKS):
            x = Block(_DROP_PATH * i / (_BLOCKS - 1))(x, training)
        x = nn.LayerNorm(dtype=jnp.bfloat16)(x).mean(1)
        return nn.Dense(1000)(x.astype(jnp.float32))
