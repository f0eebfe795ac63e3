"""What a person sees at the end of a run: learning curves, and the pictures that were mistaken."""

import matplotlib
import numpy as np

matplotlib.use("Agg")  # Files only: no window, no display needed.

import matplotlib.pyplot as plt

_SHOWN_MISTAKES = 10


def learning_curves_and_mistakes(results, images, labels, path):
    """Draws one row for each run: loss, accuracy, misclassified test pictures. Writes a PNG.

    Args:
        results: Dict from a model's name to a dict with its `history`, as `trainer.train` returns
            it, and `by_keras`, the predicted class of every test picture.
        images: Test pictures, array of shape `(pictures, height, width, 1)`.
        labels: Their classes.
        path: Of the PNG.
    """
    figure = plt.figure(figsize=(13, 3 * len(results)), layout="constrained")
    rows = figure.subfigures(len(results), 1, squeeze=False)[:, 0]
    for row, (name, result) in zip(rows, results.items(), strict=True):
        curves, mistakes = row.subfigures(1, 2, width_ratios=(8, 5))
        loss, accuracy = curves.subplots(1, 2)
        _draw_curves(loss, result["history"], "loss", name)
        _draw_curves(accuracy, result["history"], "accuracy", name)
        accuracy.set_ylim(0.8, 1.0)
        _draw_mistakes(mistakes, images, labels, result["by_keras"])
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_curves(axes, history, metric, name):
    epochs = range(1, len(history[metric]) + 1)
    axes.plot(epochs, history[metric], label="training")
    axes.plot(epochs, history[f"val_{metric}"], label="validation")
    axes.set(title=f"{name}: {metric}", xlabel="epoch")
    axes.grid(alpha=0.3)
    axes.legend()


def _draw_mistakes(figure, images, labels, predicted):
    wrong = np.flatnonzero(predicted != labels)
    title = f"{len(wrong)} of {len(labels)} test pictures misclassified"
    if len(wrong) > _SHOWN_MISTAKES:
        title += f", the first {_SHOWN_MISTAKES}:"
    figure.suptitle(title, fontsize=10)
    panels = figure.subplots(2, _SHOWN_MISTAKES // 2).ravel()
    for panel in panels:
        panel.axis("off")
    for panel, i in zip(panels, wrong, strict=False):
        panel.imshow(images[i, :, :, 0], cmap="gray_r")
        panel.set_title(f"{labels[i]} as {predicted[i]}", fontsize=9)
