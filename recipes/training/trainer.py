"""The training loop: `fit` with this project's optimizer, loss, metrics and progress."""

import keras
from tqdm.keras import TqdmCallback

from recipes.training import data, optimisation


def train(model, config, training, validation, augment=None):
    """Trains `model`, which returns logits, and returns its learning curves.

    Args:
        model: A built `keras.Model` from pictures to logits.
        config: A `TrainingConfig`.
        training: `(images, labels)`, float32 `(pictures, height, width, channels)` and integers.
        validation: The same; evaluated after every epoch.
        augment: See `recipes.training.data.training_batches`.

    Returns:
        A dict of lists with one number per epoch: `loss`, `accuracy`, `val_loss`, `val_accuracy`.
    """
    classes = model.output_shape[-1]
    steps_per_epoch = data.steps_per_epoch(training[0], config.batch_size)
    model.compile(
        optimizer=optimisation.adamw(model, config, steps_per_epoch),
        loss=optimisation.cross_entropy(config),
        metrics=["accuracy"],
        jit_compile=False,
    )
    history = model.fit(
        data.training_batches(
            *_one_hot(training, classes), config.batch_size, config.seed, augment
        ),
        validation_data=data.evaluation_batches(*_one_hot(validation, classes), config.batch_size),
        epochs=config.epochs,
        steps_per_epoch=steps_per_epoch,
        shuffle=False,  # The data set has its own order.
        callbacks=[_progress_bar(model.name)],
        verbose=0,
    )
    return history.history


def _one_hot(pictures, classes):
    images, labels = pictures
    return images, keras.utils.to_categorical(labels, classes)


def _progress_bar(name):
    return TqdmCallback(
        verbose=0, desc=name, bar_format="{l_bar}{bar:20}{r_bar}", dynamic_ncols=True
    )
