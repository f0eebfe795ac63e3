"""How good a model is, as a training counts it: on batches, by sums that devices can add up."""

from typing import ClassVar

import numpy as np
from keras import ops

from keras_mixers.training import losses

_MOST_BINS, _LEAST_BINS = 1024, 64
_COUNTED = 2**21  # Numbers of a histogram over all classes, about.
_SOFT = 4.0  # Logits are divided by it, so that far ones do not share a bin.


def of(config):
    """Returns what counts the runs of a `TrainingConfig`."""
    return (MultiLabel if config.multi_label else OneLabel)(config.loss)


class OneLabel:
    """Of one label an image: how often it is the most probable class.

    Args:
        loss: As of `losses.losses`.
    """

    training: ClassVar = {"accuracy": "accuracy"}
    """What is known of a training batch: the names of the log, with those for people."""
    validation: ClassVar = {"accuracy": "top-1", "top_5": "top-5"}
    """The same of the validation; the first one is what models are chosen by."""

    def __init__(self, loss):
        self._loss = loss

    def training_sums(self, labels, logits):
        """Returns sums over a batch besides the loss, a dict of tensors."""
        return {"correct": ops.sum(losses.correct(labels, logits))}

    def training_means(self, sums, images):
        """Returns what `training` names, of sums over so many images."""
        return {"accuracy": sums["correct"] / images}

    def evaluation_sums(self, labels, logits, weights):
        """Returns sums over a batch, each image by its weight: what `evaluate_step` returns."""
        values = {
            "loss": losses.losses(labels, logits, self._loss),
            "correct": losses.correct(labels, logits),
            "correct_5": losses.correct(labels, logits, among=5),
            "count": ops.ones_like(weights),
        }
        return {name: ops.sum(value * weights) for name, value in values.items()}

    def evaluation_means(self, sums):
        """Returns what `validation` names, of sums over all images; and thresholds, or None."""
        found = {"accuracy": "correct", "top_5": "correct_5"}
        return {new: sums[old] / sums["count"] for new, old in found.items()}, None


class MultiLabel:
    """Of several labels an image: F1 over all of them, mean average precision over the classes.

    The F1 of training is that of labels with a probability of at least 0.5; that of the validation,
    of those that reach the threshold of their class, by which its own F1 is the largest. Both
    these and the average precision (the area under a class' curve of precision over recall, as
    scikit-learn's `average_precision_score` has it) are of probabilities that are rounded, to a
    thousandth or so.

    Args:
        loss: As of `losses.losses`.
    """

    training: ClassVar = {"f1": "F1"}
    validation: ClassVar = {"map": "mAP", "f1": "F1"}

    def __init__(self, loss):
        self._loss = loss

    def training_sums(self, labels, logits):
        """See `OneLabel.training_sums`."""
        real, found = labels >= 0.5, logits >= 0
        both = ops.sum(ops.cast(ops.logical_and(real, found), "float32"))
        each = ops.sum(ops.cast(real, "float32")) + ops.sum(ops.cast(found, "float32"))
        return {"found": both, "either": each}

    def training_means(self, sums, images):
        """See `OneLabel.training_means`."""
        return {"f1": 2 * sums["found"] / max(sums["either"], 1.0)}

    def evaluation_sums(self, labels, logits, weights):
        """See `OneLabel.evaluation_sums`.

        `with_label` and `without` are histograms of the probabilities of each class, `(classes,
        bins)`.
        """
        classes = int(labels.shape[-1])
        bins = _bins(classes)
        logits = ops.cast(logits, "float32")
        place = ops.cast(ops.floor(ops.sigmoid(logits / _SOFT) * bins), "int32")
        # What is not a number is in no bin: it is the least probable.
        place = ops.clip(ops.where(ops.isnan(logits), 0, place), 0, bins - 1)
        place = ops.reshape(place + bins * ops.arange(classes, dtype="int32"), (-1,))
        labels = ops.cast(labels, "float32")
        real, other = (ops.reshape(x * weights[:, None], (-1,)) for x in (labels, 1 - labels))
        counts = [
            ops.reshape(ops.segment_sum(x, place, num_segments=classes * bins), (classes, bins))
            for x in (real, other)
        ]
        return {
            "loss": ops.sum(losses.losses(labels, logits, self._loss) * weights),
            "with_label": counts[0],
            "without": counts[1],
            "count": ops.sum(weights),
        }

    def evaluation_means(self, sums):
        """See `OneLabel.evaluation_means`; a class without an image has the threshold 0.5."""
        positive, negative = (np.asarray(sums[k], "float64") for k in ("with_label", "without"))
        hits = positive[:, ::-1].cumsum(1)[:, ::-1]  # With a threshold at the bin's lower edge.
        taken = hits + negative[:, ::-1].cumsum(1)[:, ::-1]
        real = hits[:, :1]
        precision = hits / np.maximum(taken, 1)
        average = (positive * precision).sum(1) / np.maximum(real[:, 0], 1)
        best = _middle_of_best(hits / np.maximum(real + taken, 1))
        known = real[:, 0] > 0
        edges = _probability(best / positive.shape[1])
        thresholds = np.where(known, edges, 0.5)
        # That of 0.5 is an edge too, the middle one.
        best = np.where(known, best, positive.shape[1] // 2)[:, None]
        found, either = (np.take_along_axis(x, best, 1).sum() for x in (hits, real + taken))
        means = {
            "map": float(average[known].mean()) if known.any() else 0.0,
            "f1": float(2 * found / max(either, 1)),
        }
        return means, thresholds.tolist()


def _middle_of_best(values):
    """Returns of each row the place of its largest value, the middle of a run of equal ones."""
    is_best = values == values.max(axis=1, keepdims=True)
    first = is_best.argmax(axis=1)[:, None]
    ends = (~is_best).cumsum(axis=1)
    run = is_best & (ends == np.take_along_axis(ends, first, 1))
    return first[:, 0] + run.sum(axis=1) // 2


def _bins(classes):
    """An even number, so that a probability of 0.5 is an edge."""
    return int(np.clip(_COUNTED // classes // 2 * 2, _LEAST_BINS, _MOST_BINS))


def _probability(share):
    """The probability of the logit that has `share` of the bins below it."""
    share = np.clip(share, 1e-12, 1 - 1e-12)
    return 1 / (1 + ((1 - share) / share) ** _SOFT)
