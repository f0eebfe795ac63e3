"""How often a model is right: over all images, by class, and what it takes for what."""

import collections
import csv
import dataclasses
import io

import numpy as np

from keras_mixers import files
from keras_mixers.evaluation import inputs


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of each image that could be read, in arrays of one length."""

    labels: np.ndarray
    predicted: np.ndarray
    better: np.ndarray
    """How many wrong classes are at least as probable as the right one."""
    margin: np.ndarray
    """Output for the most probable of the wrong classes, less the one for the right class."""
    unreadable: tuple
    """Indices of the images that could not be read."""

    def top(self, k):
        """Returns for each image whether its class is among the `k` most probable ones."""
        return self.better < k

    def worst(self, count):
        """Returns which images were taken for a wrong class, the clearest mistakes first.

        Two arrays: their places here, and in the data, which has the unreadable ones too.
        """
        readable = np.setdiff1d(np.arange(len(self.labels) + len(self.unreadable)), self.unreadable)
        order = np.argsort(-self.margin, kind="stable")
        wrong = order[self.better[order] > 0][:count]
        return wrong, readable[wrong]

    def confusion(self, classes):
        """Returns how often a class (row) was taken for a class (column)."""
        pairs = np.bincount(self.labels * classes + self.predicted, minlength=classes**2)
        return pairs.reshape(classes, classes)


def evaluate(model, data, config):
    """Returns the `Result` of a `LoadedModel` on some `inputs.open_data`; shows how far it is."""
    found, unreadable = collections.defaultdict(list), []
    for images, labels, weights in inputs.batches(data, config, unreadable):
        images = inputs.as_input(images, model, config.preprocessing)
        outputs = np.asarray(model.predict(images), "float32")[weights > 0]
        for name, values in judge(outputs, labels[weights > 0]).items():
            found[name].append(values)
    return Result(
        **{name: np.concatenate(v) for name, v in found.items()}, unreadable=tuple(unreadable)
    )


def judge(outputs, labels):
    """Returns the arrays of a `Result` for the outputs of a model, by name."""
    rows = np.arange(len(labels))
    # Not ">=": what is not a number counts against the class, too.
    better = np.sum(~(outputs < outputs[rows, labels][:, None]), axis=-1) - 1
    others = outputs.copy()
    others[rows, labels] = -np.inf
    predicted = np.where(better == 0, labels, np.argmax(others, axis=-1))
    margin = others.max(axis=-1) - outputs[rows, labels]
    return {"labels": labels, "predicted": predicted, "better": better, "margin": margin}


def per_class(result, names):
    """Returns the rows of a table: class, images, top-1, top-5, most often mistaken for."""
    confusion = result.confusion(len(names))
    rows = [("class", "images", "top-1", "top-5", "most often mistaken for")]
    for label, name in enumerate(names):
        mine = result.labels == label
        count = int(mine.sum())
        top_1, top_5 = (f"{result.top(k)[mine].mean():.4f}" if count else "" for k in (1, 5))
        wrong = np.where(np.arange(len(names)) == label, 0, confusion[label])
        mistaken = names[np.argmax(wrong)] if wrong.any() else ""
        rows.append((name, count, top_1, top_5 if len(names) > 5 else "", mistaken))
    return rows


def write_rows(path, rows):
    """Writes a CSV file, complete or not at all."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    files.write(path, text.getvalue())


def write_confusion(path, matrix, names):
    """Writes how often a class (row) was taken for a class (column) as a CSV file."""
    rows = [(name, *row) for name, row in zip(names, matrix.tolist(), strict=True)]
    write_rows(path, [("truth", *names), *rows])
