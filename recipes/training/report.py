"""What a person sees at the end of a run: learning curves, and the pictures that were mistaken."""

import matplotlib
import numpy as np

matplotlib.use("Agg")  # Files only: no window, no display needed.

import matplotlib.pyplot as plt

_SHOWN_MISTAKES = 10


def learning_curves_and_mistakes(runs, images, labels, path):
    """Draws one row for each run: loss, accuracy, misclassified test pictures. Writes a PNG.

    Args:
        runs: Dict from a model's name to `(history, predicted)`: curves as `trainer.train` returns
            them, and the predicted class of every test picture.
        images: Test pictures, array of shape `(pictures, height, width, 1)`.
        labels: Their classes.
        path: Of the PNG.
    """
    figure = plt.figure(figsize=(13, 3 * len(runs)), layout="constrained")
    rows = figure.subfigures(len(runs), 1, squeeze=False)[:, 0]
    for row, (name, (history, predicted)) in zip(rows, runs.items(), strict=True):
        curves, mistakes = row.subfigures(1, 2, width_ratios=(8, 5))
        loss, accuracy = curves.subplots(1, 2)
        _draw_curves(loss, history, "loss", name)
        _draw_curves(accuracy, history, "accuracy", name)
        accuracy.set_ylim(0.8, 1.0)
        _draw_mistakes(mistakes, images, labels, predicted)
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
    figure.suptitle(f"{len(wrong)} of {len(labels)} test pictures misclassified", fontsize=10)
    panels = figure.subplots(2, _SHOWN_MISTAKES // 2).flat
    for panel in panels:
        panel.axis("off")
    for panel, i in zip(panels, wrong, strict=False):
        panel.imshow(images[i, :, :, 0], cmap="gray_r")
        panel.set_title(f"{labels[i]} as {predicted[i]}", fontsize=9)
