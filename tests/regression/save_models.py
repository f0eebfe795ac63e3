"""Writes a small .keras file of each family, and what this version predicts by it.

Run once, with version 0.1.0 before its scripts became part of the package. The files are what users
have: later versions must load them, so that they are not written anew.

  python -m tests.regression.save_models [FOLDER]     (default: this folder)
"""

import pathlib
import sys

import keras
import numpy as np

import keras_mixers
from tests.reference import randomize

FOLDER = pathlib.Path(__file__).parent
# Also in the test, which imports nothing of this.
INNER = {
    "mlp_mixer": "block_0_token_mixing",
    "s2_mlp": "block_1_spatial_shift",
    "smlpnet": "block_1_axial_projection",
}


def models():
    """Yields a model of each family with arguments that are not the defaults."""
    yield keras_mixers.MLPMixer(
        input_shape=(16, 24, 3),
        patch_size=4,
        hidden_dim=24,
        num_blocks=2,
        tokens_mlp_dim=20,
        channels_mlp_dim=36,
        dropout_rate=0.1,
        drop_path_rate=0.2,
        activation="gelu",
        classes=7,
        classifier_activation=None,
        name="a_small_mixer",
    )
    yield keras_mixers.S2MLP(
        input_shape=(None, None, 1),
        patch_size=2,
        hidden_dim=24,
        num_blocks=2,
        channels_mlp_dim=40,
        dropout_rate=0.1,
        drop_path_rate=0.2,
        directions="eight",
        classes=7,
        name="a_small_s2_mlp",
    )
    yield keras_mixers.SMLPNet(
        input_shape=(16, 24, 3),
        patch_size=2,
        hidden_dim=8,
        depths=(1, 1),
        mlp_ratio=2,
        dropout_rate=0.1,
        drop_path_rate=0.2,
        fusion="sum",
        classes=7,
        classifier_activation=None,
        name="a_small_smlpnet",
    )


def main(folder=FOLDER):
    expected = {}
    for seed, (family, model) in enumerate(zip(INNER, models(), strict=True)):
        rng = np.random.default_rng(seed)
        randomize(model, rng)
        channels = model.input_shape[-1]
        images = rng.standard_normal((3, 16, 24, channels), "float32")
        images += 2 * rng.standard_normal((3, 1, 1, channels), "float32")  # Else all look alike.
        inner = model.get_layer(INNER[family]).output
        found = keras.Model(model.input, [model.output, inner]).predict(images, verbose=0)
        names = [f"{family}/{name}" for name in ("pictures", "output", INNER[family])]
        expected |= dict(zip(names, (images, *found), strict=True))
        model.save(pathlib.Path(folder, f"{family}.keras"))
    np.savez_compressed(pathlib.Path(folder, "expected.npz"), **expected)


if __name__ == "__main__":
    main(*sys.argv[1:])
