"""How an exported file compares with the model that it was made of."""

import dataclasses

import numpy as np

from keras_mixers.evaluation import inputs, multi_label, probabilities

# A float32 file may add in another order than the model, no more. That has been a few 1e-6 of the
# outputs; a tanh GELU in place of the exact one, say, is 1e-3.
TOLERANCE = 1e-4  # Of how far the outputs differ between images.
_ROUNDING = 1e-5  # Of the largest output: never asked to be finer.
_TELLING = 0.01  # Of the largest output: a smaller spread between images shows little.
_RANDOM_IMAGES = 8


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The outputs of a model and of an exported file, over the same images."""

    on: str
    """What images."""
    images: int
    agreement: float
    """Share of the images for which both find the same class most probable, or the same labels."""
    score: str
    """What the next two are: top-1, or of several labels an image mAP."""
    score_of_model: float | None
    """How often the model is right; None where nobody knows the classes."""
    score_of_file: float | None
    largest_difference: float
    """Between outputs, over all images and classes."""
    mean_difference: float
    largest_output: float
    """Of the model, in absolute value."""
    spread: float
    """How far an output of the model differs from image to image, at most."""

    @property
    def is_finite(self):
        """Whether the file's outputs are numbers: float16 has none above 65,504."""
        return bool(np.isfinite(self.largest_difference))

    @property
    def is_rounding(self):
        """Whether file and model differ by the rounding of float32 only."""
        allowed = max(TOLERANCE * self.spread, _ROUNDING * self.largest_output)
        return self.largest_difference <= allowed

    @property
    def is_telling(self):
        """Whether the outputs depend on the input enough for the comparison to mean something."""
        return self.spread >= _TELLING * self.largest_output


def compare(model, predict, file, data, config, name, about_labels):
    """Compares a model and a file on every image of `data`.

    Args:
        model: What has `takes_pixels` and `includes_preprocessing`: the model.
        predict: Of the model, from images as it takes them to outputs.
        file: What has `predict`, `takes_pixels` and `includes_preprocessing`: the file.
        data: What `inputs.open_data` returns, or None for a few random ones.
        config: The `TrainingConfig` by which images are prepared.
        name: Of the data.
        about_labels: What `Origin.of_labels` returns.

    Returns:
        A `Comparison`, and the indices of images that cannot be read.
    """
    unreadable, found = [], []
    batches = (
        _random(config, file)
        if data is None
        else inputs.batches(data, config, unreadable, doing="comparing")
    )
    for images, labels, weights in batches:
        kept = weights > 0
        # The model sees what the file sees, also where that was rounded to pixels.
        images = np.round(images) if file.takes_pixels else images
        given = inputs.as_input(images, file, config.preprocessing)
        expected = predict(inputs.as_input(images, model, config.preprocessing))
        outputs = [
            np.asarray(of).reshape(len(kept), -1)[kept] for of in (expected, file.predict(given))
        ]
        found.append((*outputs, labels[kept]))
    expected, got, labels = map(np.concatenate, zip(*found, strict=True))
    judge = _judged_several if about_labels.get("multi_label") else _judged
    scores = judge(expected, got, None if data is None else labels, about_labels)
    return _summary(expected, got, scores, name), unreadable


def _random(config, file):
    rng = np.random.default_rng(0)
    step = file.batch_size or 1
    shape = (-(-_RANDOM_IMAGES // step) * step, *file.input_shape[1:])
    images = rng.integers(0, 256, shape, "uint8")
    yield images, np.zeros(len(images), int), np.ones(len(images))


def _judged(expected, got, labels, about):
    """Returns what a `Comparison` says of the classes that are found."""
    classes, found = expected.argmax(axis=-1), got.argmax(axis=-1)
    return {
        "agreement": float((classes == found).mean()),
        "score": "top-1",
        "score_of_model": None if labels is None else float((classes == labels).mean()),
        "score_of_file": None if labels is None else float((found == labels).mean()),
    }


def _judged_several(expected, got, labels, about):
    both = [probabilities.of(outputs, about["probabilities_by"]) for outputs in (expected, got)]
    ours, theirs = (multi_label.reaches(found, about["thresholds"]) for found in both)
    scores = [None, None]
    if labels is not None:
        scores = [multi_label.mean_average_precision(labels > 0, found) for found in both]
    return {
        "agreement": float((ours == theirs).all(axis=-1).mean()),
        "score": "mAP",
        "score_of_model": scores[0],
        "score_of_file": scores[1],
    }


def _summary(expected, got, scores, name):
    differences = np.abs(got.astype("float64") - expected)
    return Comparison(
        on=name,
        images=len(expected),
        **scores,
        largest_difference=float(differences.max()),
        mean_difference=float(differences.mean()),
        largest_output=float(np.max(np.abs(expected))),
        spread=float(np.ptp(expected, axis=0).max()),
    )
