"""The settings by which published weights, or those of an earlier run, are fine-tuned."""

import dataclasses
import logging
import os
import pathlib

from keras_mixers.errors import RunError, UsageError
from keras_mixers.training import config as settings

EPOCHS = 20
_log = logging.getLogger("keras_mixers")


def usual(epochs=EPOCHS):
    """Returns the `TrainingConfig` of fine-tuning, whatever the model, the weights and the data.

    Fine-tuning of MLP-Mixer's paper (section 3.1, appendix B): SGD with momentum 0.9, gradients
    clipped to 1, a linear warm-up and half a cosine, no weight decay, no augmentation but random
    crops and flips. Its 512 images a step are for sets of ImageNet's size; here they are 32.

    Args:
        epochs: Of which a quarter, or one, warms up.
    """
    return settings.TrainingConfig(
        drop_path_rate=0.0,
        weights="imagenet21k",
        randaugment="none",
        mixup=0.0,
        epochs=epochs,
        batch_size=32,
        loss="softmax",
        head_bias=0.0,
        optimizer="sgd",
        learning_rate=0.03,
        final_learning_rate=0.0,
        schedule="cosine",
        warmup_epochs=min(1.0, epochs / 4),
        weight_decay=0.0,
        log_steps=10,
        out="runs/finetuned",
    )


def defaults(model, weights, epochs=EPOCHS, scaling_is_given=False):
    """Returns `usual(epochs)` with what the weights say.

    Args:
        model: Name of a constructor, or None for that of the earlier run, else MLPMixerB16.
        weights: A name of published ones, a file or an earlier run; None for `usual`'s.
        epochs: As `usual` takes them.
        scaling_is_given: Whether mean and std are given anyway: then nothing is said of weights
            that do not say how their images are prepared.

    Raises:
        UsageError: The folder `weights` is not an earlier run.
    """
    config, run = usual(epochs), _run_of(weights)
    base = run or config
    name = model or base.model
    preprocessing = run and run.preprocessing
    if run is None:
        preprocessing = _preprocessing(name, weights or config.weights, scaling_is_given)
    return dataclasses.replace(
        config.with_preprocessing(preprocessing),
        model=name,
        model_options=base.model_options if name == base.model else (),
        image_size=base.image_size,
        channels=base.channels,
        weights=weights or config.weights,
        flip=base.flip,
        crop_min_area=base.crop_min_area,
    )


def _run_of(weights):
    """Returns the `TrainingConfig` of the run whose folder, or a file in it, `weights` is."""
    path = pathlib.Path(weights or "").expanduser()
    folder = path if path.is_dir() else path.parent
    if not weights or not path.exists() or not (folder / "config.json").exists():
        return None
    try:
        return settings.load(folder / "config.json", "its config.json")
    except RunError as error:
        if path.is_file():  # Others have a config.json beside their weights, too.
            return None
        raise UsageError(f"--weights {weights} is no run: {error}") from None


def _preprocessing(model, weights, scaling_is_given):
    """Returns the `Preprocessing` that weights expect; that of the family where nothing says it."""
    from keras_mixers import models
    from keras_mixers import weights as weight_files
    from keras_mixers.models import family

    row = weight_files.published_row(model, weights)
    if row is not None:
        return row.preprocessing
    own = family.of_constructor(model)
    if own is None:  # No constructor: the next check says so.
        return models.mlp_mixer.FAMILY.preprocessing
    path = os.path.expanduser(weights)
    if not os.path.isfile(path):
        return own.preprocessing
    try:
        found = weight_files.describe(path, namings=own.namings).preprocessing
    except ValueError:  # What cannot be read is refused where it is loaded.
        return own.preprocessing
    if found is None and not scaling_is_given:
        _log.warning(
            "--weights %s does not say how its images are prepared; assumed: %s (give --mean and "
            "--std if it was trained with others)",
            *(weights, own.preprocessing),
        )
    return found or own.preprocessing
