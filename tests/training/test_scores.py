"""What a training counts of several labels an image, against scikit-learn's formulas."""

import numpy as np
import pytest
from sklearn import metrics

from keras_mixers.evaluation import multi_label
from keras_mixers.training import scores

CLASSES = 5


@pytest.fixture
def some(rng):
    """Labels, logits and weights of 400 images; no image has the last class."""
    labels = (rng.random((400, CLASSES)) < [0.5, 0.2, 0.05, 0.9, 0]).astype("float32")
    logits = (rng.normal(size=(400, CLASSES)) * 3 + 2 * labels - 1).astype("float32")
    weights = (np.arange(400) % 7 > 0).astype("float32")
    return labels, logits, weights


def counted(labels, logits, weights, batch=100):
    """Sums over batches, as the loop adds them."""
    judge, totals = scores.MultiLabel("sigmoid"), {}
    for start in range(0, len(labels), batch):
        part = slice(start, start + batch)
        for name, value in judge.evaluation_sums(labels[part], logits[part], weights[part]).items():
            totals[name] = totals.get(name, 0) + np.asarray(value, "float64")
    return totals, judge.evaluation_means(totals)


def test_mean_average_precision_and_loss(some):
    labels, logits, weights = some
    totals, (means, _) = counted(*some)
    real, kept = labels[weights > 0], logits[weights > 0].astype("float64")
    expected = metrics.average_precision_score(real[:, :4], kept[:, :4], average="macro")
    assert means["map"] == pytest.approx(expected, abs=2e-3)  # Probabilities are rounded.
    each = np.maximum(kept, 0) - kept * real + np.log1p(np.exp(-np.abs(kept)))
    assert totals["loss"] == pytest.approx(each.sum(), rel=1e-5)
    assert totals["count"] == weights.sum()


def test_thresholds_give_the_largest_f1(some):
    labels, logits, weights = some
    _, (means, thresholds) = counted(*some)
    assert thresholds[4] == 0.5
    real, found = labels[weights > 0], 1 / (1 + np.exp(-logits[weights > 0]))
    decided = found >= thresholds
    for place in range(4):
        best = max(metrics.f1_score(real[:, place], found[:, place] >= t) for t in found[:, place])
        f1 = metrics.f1_score(real[:, place], decided[:, place])
        assert best - 0.01 < f1 <= best
        assert f1 > metrics.f1_score(real[:, place], found[:, place] >= 0.5) or place in (0, 3)
    micro = metrics.f1_score(real, decided, average="micro", zero_division=0)
    assert means["f1"] == pytest.approx(micro, abs=5e-3)


def test_a_threshold_is_in_the_middle_of_those_that_are_as_good():
    labels = np.array([[1], [1], [0], [0]], "float32")
    logits = np.array([[3], [2], [-2], [-3]], "float32")
    _, (means, (threshold,)) = counted(labels, logits, np.ones(4, "float32"))
    assert means == {"map": 1, "f1": 1}
    assert threshold == pytest.approx(0.5, abs=0.01)


def test_extreme_and_broken_logits():
    labels = np.array([[1], [0], [1], [0]], "float32")
    logits = np.array([[1e4], [-1e4], [np.nan], [20]], "float32")
    totals, (means, (threshold,)) = counted(labels, logits, np.ones(4, "float32"))
    # What is not a number is the least probable.
    expected = metrics.average_precision_score(labels[:, 0], [4, 0, 0, 3])
    assert means["map"] == pytest.approx(expected)
    assert 0 <= threshold <= 1
    assert totals["with_label"].sum() == totals["without"].sum() == 2


def test_many_classes_have_fewer_bins():
    sums = scores.MultiLabel("sigmoid").evaluation_sums(
        np.zeros((2, 20_000), "float32"), np.zeros((2, 20_000), "float32"), np.ones(2, "float32")
    )
    assert sums["without"].shape == (20_000, 104)
    assert np.asarray(sums["without"])[:, 52].sum() == 40_000


def test_f1_of_a_training_batch(some):
    labels, logits, _ = some
    judge = scores.MultiLabel("sigmoid")
    sums = {n: float(v) for n, v in judge.training_sums(labels, logits).items()}
    expected = metrics.f1_score(labels, logits >= 0, average="micro", zero_division=0)
    assert judge.training_means(sums, 400)["f1"] == pytest.approx(expected)
    assert judge.training_means({"found": 0.0, "either": 0.0}, 400) == {"f1": 0}


def test_an_evaluation_is_exact(some):
    labels, logits, _ = some
    found = 1 / (1 + np.exp(-logits))
    found = np.round(found, 2)  # Ties.
    expected = [metrics.average_precision_score(labels[:, i], found[:, i]) for i in range(4)]
    average = multi_label.average_precision(labels > 0, found)
    np.testing.assert_allclose(average[:4], expected)
    assert np.isnan(average[4])
    thresholds = np.array([0.5, 0.3, 0.61, 0.2, 0.5])
    result = multi_label.Result(labels > 0, found, thresholds, ())
    assert result.mean_average_precision() == pytest.approx(np.mean(expected))
    decided = found >= thresholds
    expected = metrics.f1_score(labels, decided, average=None, zero_division=0)
    np.testing.assert_allclose(result.f1()[:4], expected[:4])
    micro = metrics.f1_score(labels, decided, average="micro", zero_division=0)
    assert result.micro_f1() == pytest.approx(micro)
    rows = multi_label.per_class(result, "abcde")
    precision, recall, _, images = metrics.precision_recall_fscore_support(
        labels, decided, zero_division=0
    )
    for place in range(4):
        of_class = (precision[place], recall[place])
        assert rows[place + 1][4:6] == tuple(f"{value:.4f}" for value in of_class)
        assert rows[place + 1][1] == images[place]
    assert rows[5][:3] == ("e", 0, "")
    lines = dict(multi_label.rows(result, "abcde", "of a test"))
    assert lines["classes without an image"] == "1, left out: e"
    assert lines["thresholds"] == "0.20 to 0.61, of a test"


def test_the_worst_images_are_wrong_ones():
    labels = np.array([[1, 0], [0, 0], [0, 1]], bool)
    found = np.array([[0.9, 0.4], [0.6, 0.1], [0.2, 0.05]])
    result = multi_label.Result(labels, found, np.array([0.5, 0.5]), unreadable=(1,))
    places, indices = result.worst(5)
    assert places.tolist() == [2, 1]
    assert indices.tolist() == [3, 2]
