"""A small model of each family, with sides that differ so that no axis can be taken for another.

They take images that are scaled already, unless a test asks for more.
"""

import keras
import numpy as np

import keras_mixers

BUILDERS = {
    "mlp_mixer": lambda **kwargs: keras_mixers.MLPMixer(
        **{
            **dict(
                input_shape=(8, 12, 3),
                classes=5,
                patch_size=4,
                hidden_dim=8,
                num_blocks=3,
                tokens_mlp_dim=10,
                channels_mlp_dim=12,
            ),
            **kwargs,
        }
    ),
    "s2_mlp": lambda **kwargs: keras_mixers.S2MLP(
        **{
            **dict(
                input_shape=(12, 16, 3),
                classes=5,
                patch_size=4,
                hidden_dim=10,
                num_blocks=3,
                channels_mlp_dim=12,
            ),
            **kwargs,
        }
    ),
    "smlpnet": lambda **kwargs: keras_mixers.SMLPNet(
        **{
            **dict(
                input_shape=(16, 24, 3), classes=5, patch_size=2, hidden_dim=6, depths=(1, 2, 1)
            ),
            **kwargs,
        }
    ),
}
FAMILIES = tuple(BUILDERS)
# Of the fewest blocks, where each of them costs time and one shows it all.
SHORT = {
    "mlp_mixer": {"num_blocks": 1},
    "s2_mlp": {"num_blocks": 1},
    "smlpnet": {"depths": (1, 1)},
}
NUM_BLOCKS = {"mlp_mixer": 3, "s2_mlp": 3, "smlpnet": 4}


def build(family, include_preprocessing=False, **kwargs):
    return BUILDERS[family](include_preprocessing=include_preprocessing, **kwargs)


def images(model, rng, batch=2):
    return rng.normal(size=(batch, *model.input_shape[1:])).astype("float32")


def outputs(model, images):
    """Returns what `model.predict` does, of one batch, as arrays.

    On TensorFlow a call, which takes a sixth of the time: no function is traced for it.
    """
    if keras.backend.backend() != "tensorflow":
        return model.predict(images, verbose=0)
    return keras.tree.map_structure(np.asarray, model(images, training=False))
