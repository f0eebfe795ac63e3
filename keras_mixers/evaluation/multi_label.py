"""How good a model is at several labels an image: average precision, F1 and its thresholds."""

import dataclasses

import numpy as np

from keras_mixers.errors import UsageError
from keras_mixers.evaluation import inputs, probabilities

USUAL = 0.5
"""Threshold of a probability where a model has none of its own."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of each image that could be read."""

    labels: np.ndarray
    """bool `(images, classes)`: what each image has."""
    probabilities: np.ndarray
    """float32 `(images, classes)`."""
    thresholds: np.ndarray
    """float64 `(classes,)`: an image has a label from this probability on."""
    unreadable: tuple
    """Indices of the images that could not be read."""

    @property
    def found(self):
        """bool `(images, classes)`: the labels that the model gives."""
        return reaches(self.probabilities, self.thresholds)

    def average_precision(self):
        """Returns what `average_precision` does."""
        return average_precision(self.labels, self.probabilities)

    def mean_average_precision(self):
        """Returns the mean over the classes that an image has."""
        return mean_average_precision(self.labels, self.probabilities)

    def f1(self):
        """Returns F1 of each class, `(classes,)`: NaN where no image has it."""
        scores = _f1(*(x.sum(axis=0) for x in (self.labels & self.found, self.labels, self.found)))
        return np.where(self.labels.any(axis=0), scores, np.nan)

    def micro_f1(self):
        """Returns F1 over the labels of all classes together."""
        return float(_f1(*(x.sum() for x in (self.labels & self.found, self.labels, self.found))))

    def worst(self, count):
        """Returns which images the model is most wrong about: places here, and in the data."""
        readable = np.setdiff1d(np.arange(len(self.labels) + len(self.unreadable)), self.unreadable)
        is_wrong = (self.labels != self.found).any(axis=1)
        error = np.abs(self.labels - self.probabilities).max(axis=1)
        order = np.argsort(-error, kind="stable")
        wrong = order[is_wrong[order]][:count]
        return wrong, readable[wrong]


def evaluate(model, data, config, by, thresholds=None):
    """Returns the `Result` of a `LoadedModel` on some `inputs.open_data`; shows how far it is.

    Args:
        model: A `LoadedModel`.
        data: Images with several labels.
        config: The `TrainingConfig` by which they are prepared.
        by: What `probabilities.made_by` returns.
        thresholds: One for each class, or None for 0.5.

    Raises:
        UsageError: The outputs are shares of one.
    """
    if by == "softmax":
        raise UsageError(
            "--multi-label needs a model with a sigmoid for each label, trained by --loss sigmoid. "
            f"{model.name} has a softmax over all."
        )
    labels, found, unreadable = [], [], []
    for images, mine, weights in inputs.batches(data, config, unreadable):
        images = inputs.as_input(images, model, config.preprocessing)
        found.append(probabilities.of(model.predict(images), by)[weights > 0])
        labels.append(mine[weights > 0] > 0)
    if thresholds is None:
        thresholds = np.full(len(data.class_names), USUAL)
    return Result(
        *map(np.concatenate, (labels, found)), np.array(thresholds, "float64"), tuple(unreadable)
    )


def reaches(found, thresholds):
    """Returns where probabilities reach the threshold of their class; a rounding is no matter."""
    return found >= np.asarray(thresholds) - 1e-6


def average_precision(labels, found):
    """Returns the area under each class' curve of precision over recall, as steps.

    It is what scikit-learn's `average_precision_score` computes; NaN where no image has the class.

    Args:
        labels: bool `(images, classes)`.
        found: Probabilities, or whatever is larger the surer the model is; `(images, classes)`.
    """
    return np.array([_of_class(labels[:, i], found[:, i]) for i in range(labels.shape[1])])


def mean_average_precision(labels, found):
    """Returns the mean of `average_precision` over the classes that an image has."""
    known = labels.any(axis=0)
    return float(average_precision(labels, found)[known].mean()) if known.any() else float("nan")


def _of_class(labels, found):
    if not labels.any():
        return np.nan
    found = np.where(np.isnan(found), -np.inf, found)  # The least sure.
    order = np.argsort(-found, kind="stable")
    labels, found = labels[order], found[order]
    ends = np.append(found[1:] != found[:-1], True)  # Images of one probability come together.
    hits = np.cumsum(labels)[ends]
    precision = hits / (np.flatnonzero(ends) + 1)
    return float(np.sum(np.diff(hits, prepend=0) * precision) / hits[-1])


def _f1(both, real, found):
    return 2 * both / np.maximum(real + found, 1)


def per_class(result, names):
    """Returns the rows of a table: how well each class is found, and with which threshold."""
    both, real, found = (
        x.sum(axis=0) for x in (result.labels & result.found, result.labels, result.found)
    )
    header = ("average precision", "threshold", "precision", "recall", "F1")
    rows = [("class", "images", *header)]
    average, f1 = result.average_precision(), result.f1()
    for i, name in enumerate(names):
        values = (
            average[i],
            result.thresholds[i],
            both[i] / found[i] if found[i] else np.nan,
            both[i] / real[i] if real[i] else np.nan,
            f1[i],
        )
        shown = ("" if np.isnan(value) else f"{value:.4f}" for value in values)
        rows.append((name, int(real[i]), *shown))
    return rows


def rows(result, names, source):
    """Returns lines of a table for people: what, and how much.

    Args:
        result: A `Result`.
        names: Of the classes.
        source: Where the thresholds come from.
    """
    lowest, highest = result.thresholds.min(), result.thresholds.max()
    span = f"{lowest:.2f}" if lowest == highest else f"{lowest:.2f} to {highest:.2f}"
    f1 = result.f1()
    mean = np.nanmean(f1) if not np.isnan(f1).all() else np.nan
    lines = [
        ("mAP", f"{result.mean_average_precision():.2%}"),
        ("F1, all labels together", f"{result.micro_f1():.2%}"),
        ("F1, mean of the classes", f"{mean:.2%}"),
        ("thresholds", f"{span}, {source}"),
    ]
    lacking = [name for i, name in enumerate(names) if not result.labels[:, i].any()]
    if lacking:
        shown = ", ".join(lacking[:5]) + (", ..." if len(lacking) > 5 else "")
        lines.append(("classes without an image", f"{len(lacking):,}, left out: {shown}"))
    return lines
