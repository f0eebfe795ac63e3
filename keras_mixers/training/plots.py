"""What a person sees of a run: an augmented batch, learning curves, mistakes, a summary."""

import dataclasses
import io
import math

import matplotlib
import numpy as np

matplotlib.use("Agg")  # Files only: no window, no display needed.

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from keras_mixers.data.batch_order import Shard
from keras_mixers.data.unreadable_images import indices
from keras_mixers.errors import UsageError

plt.rcParams["text.parse_math"] = False  # Names of classes may have a $.

_SHOWN_MISTAKES = 10
_SHOWN_AUGMENTED = 32
_NAMED_CLASSES = 40


def learning_curves_and_mistakes(results, images, labels, path):
    """Draws one row for each run: loss, accuracy, misclassified test images. Writes a PNG.

    Args:
        results: Dict from a model's name to a dict with its `history`, as `trainer.train` returns
            it, and `by_keras`, the predicted class of every test image.
        images: Test images, array of shape `(images, height, width, 1)`.
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
    title = f"{len(wrong)} of {len(labels)} test images misclassified"
    if len(wrong) > _SHOWN_MISTAKES:
        title += f", the first {_SHOWN_MISTAKES}:"
    figure.suptitle(title, fontsize=10)
    panels = figure.subplots(2, _SHOWN_MISTAKES // 2).ravel()
    for panel in panels:
        panel.axis("off")
    for panel, i in zip(panels, wrong, strict=False):
        panel.imshow(images[i, :, :, 0], cmap="gray_r")
        panel.set_title(f"{labels[i]} as {predicted[i]}", fontsize=9)


def preview(data, config, path):
    """Draws the first augmented images of a run with their labels. Writes a PNG.

    Args:
        data: An `ImageData`.
        config: A `TrainingConfig`.
        path: `epath.Path` of the PNG.

    Returns:
        The images, uint8 of shape `(images, height, width, 3)`, and the indices of those drawn
        that could not be read, as a set.

    Raises:
        UsageError: There are fewer than two images.
    """
    if len(data) < 2:
        raise UsageError(
            "--train-split must hold two images at least, as they are mixed in pairs: take a "
            f"larger part. Received: {config.train_split}, {len(data)} image"
        )
    # No whole batch where a part will do, nor more images than there are.
    size = min(config.batch_size, len(data) // 2 * 2)
    config = dataclasses.replace(config, batch_size=size, gradient_accumulation_steps=1)
    parts = size // _enough(size)
    images, labels, unreadable = next(iter(data.training_batches(config, shard=Shard(parts))))
    images = images[:_SHOWN_AUGMENTED].numpy()
    columns = min(8, len(images))
    rows = -(-len(images) // columns)
    figure, panels = plt.subplots(
        rows, columns, figsize=(2 * columns, 2.3 * rows), layout="constrained", squeeze=False
    )
    figure.get_layout_engine().set(h_pad=0.1)  # Else the uppermost labels are cut.
    for panel in panels.ravel():
        panel.axis("off")
    for panel, image, label in zip(panels.ravel(), images, labels.numpy(), strict=False):
        panel.imshow(image)
        most = 4 if data.multi_label else 2
        panel.set_title(_label_text(label, data.class_names, most), fontsize=8)
    _save(figure, path)
    return images, indices([unreadable])


def _enough(size):
    """Smallest even number from _SHOWN_AUGMENTED on that divides `size`, or `size`."""
    return min((n for n in range(_SHOWN_AUGMENTED, size, 2) if size % n == 0), default=size)


def _label_text(label, names, most):
    """The largest shares of a mixed label, or several labels, one a line."""
    shares = sorted(((share, names[i]) for i, share in enumerate(label)), reverse=True)
    shown = [(share, name) for share, name in shares if share > 0.05]
    more = [f"and {len(shown) - most} more"] if len(shown) > most else []
    lines = [f"{name[:18]} {share:.2f}" for share, name in shown[:most]]
    return "\n".join(lines + more) or "no label"


def write_results(model, history, scores, seconds, folder):
    """Writes curves.png and summary.md into the run folder, and prints the latter.

    Args:
        model: The trained model, for its name and size.
        history: As `loop.train` returns it.
        scores: What `scores.of` returns.
        seconds: Of training.
        folder: `epath.Path`.
    """
    from tabulate import tabulate

    last = history[-1]
    (name, shown), *_ = scores.validation.items()
    best = max(history, key=lambda epoch: epoch[f"val_{name}"])

    def said(names, prefix):
        return ", ".join(f"{last[prefix + name]:.2%}" for name in names)

    of_training = ", ".join(["loss", *scores.training.values()])
    of_validation = ", ".join(scores.validation.values())
    lines = [
        ("model", f"{model.name}, {_parameters(model)}"),
        ("epochs, steps", f"{len(history)}, {last['step']:,}"),
        (f"training {of_training}", f"{last['loss']:.4f}, {said(scores.training, '')}"),
        (f"validation {of_validation}", said(scores.validation, "val_")),
    ]
    if "ema_loss" in last:
        lines.append(("the same, EMA of the weights", said(scores.validation, "ema_")))
    written = ["model.keras", "curves.png", "log.jsonl", "tensorboard/"]
    written += ["thresholds.json"] if (folder / "thresholds.json").exists() else []
    written += ["unreadable_images.txt"] if last["unreadable"] else []
    place = history.index(best) + 1
    lines += [
        (f"best validation {shown}", f"{best[f'val_{name}']:.2%} (epoch {place})"),
        ("unreadable images", f"{last['unreadable']:,}"),
        ("time of this start", f"{seconds / 60:.1f} minutes"),
        ("files", f"{folder}: {', '.join(written)}"),
    ]
    text = tabulate(lines, ("result", ""), "github", disable_numparse=True)
    (folder / "summary.md").write_text(text + "\n")
    _draw_run(history, scores, folder / "curves.png")
    print(text)


def _parameters(model):
    """The number of weights that training can change, and of those that it did, where less."""
    state = ("moving_mean", "moving_variance", "seed_generator_state")
    weights = [weight for weight in model.weights if not weight.path.endswith(state)]
    all_of_it, trained = (
        sum(math.prod(weight.shape) for weight in some)
        for some in (weights, model.trainable_weights)
    )
    frozen = "" if trained == all_of_it else f", {trained:,} of them trained"
    return f"{all_of_it:,} parameters{frozen}"


def _draw_run(history, scores, path):
    epochs = range(1, len(history) + 1)
    names = {"loss": "loss", **scores.training}
    names |= {name: shown for name, shown in scores.validation.items() if name not in names}
    # Top-5 beside the accuracy says little more.
    names.pop("top_5", None)
    figure, panels = plt.subplots(
        1, len(names), figsize=(5.5 * len(names), 4), layout="constrained"
    )
    named = {
        "": "training, augmented",
        "val_": "validation",
        "ema_": "validation, EMA of the weights",
    }
    for axes, (metric, shown) in zip(panels, names.items(), strict=True):
        for prefix, label in named.items():
            if prefix + metric in history[0]:
                values = [epoch[prefix + metric] for epoch in history]
                axes.plot(epochs, values, ".-", label=label)
        axes.set(title=shown, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    _save(figure, path)


def _save(figure, path):
    """Writes a PNG to an `epath.Path`, which may be in a bucket."""
    memory = io.BytesIO()
    figure.savefig(memory, dpi=110)
    plt.close(figure)
    path.write_bytes(memory.getvalue())


def draw_confusion(matrix, names, path):
    """Draws how often a class (row) is taken for a class (column). Writes a PNG.

    Args:
        matrix: Numbers of images, `(classes, classes)`.
        names: Of the classes; they are written where there are at most 40.
        path: `epath.Path` of the PNG.
    """
    count = len(names)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(4 + 0.45 * count, 16)
    figure, axes = plt.subplots(figsize=(side + 1, side), layout="constrained")
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the images of a class", shrink=0.8)
    axes.set(xlabel="taken for", ylabel="class")
    if count <= _NAMED_CLASSES:
        short = [name[:18] for name in names]
        axes.set_xticks(range(count), short, rotation=90)
        axes.set_yticks(range(count), short)
        for row, column in np.argwhere(matrix):
            color = "white" if shares[row, column] > 0.5 else "black"
            number = f"{matrix[row, column]:,}"
            axes.text(column, row, number, ha="center", va="center", color=color, fontsize=8)
    _save(figure, path)


def draw_classes(names, average_precision, f1, path):
    """Draws how well each of several labels is found, the worst first. Writes a PNG.

    Args:
        names: Of the classes; the 40 worst are drawn.
        average_precision: Of each, from 0 to 1; NaN is left out.
        f1: The same.
        path: `epath.Path` of the PNG.
    """
    known = np.flatnonzero(~np.isnan(average_precision))
    order = known[np.argsort(average_precision[known], kind="stable")][:_NAMED_CLASSES]
    places = np.arange(len(order))
    figure, axes = plt.subplots(
        figsize=(8, max(2.5, 0.34 * len(order) + 1.2)), layout="constrained"
    )
    axes.barh(places - 0.2, average_precision[order], 0.4, label="average precision")
    axes.barh(places + 0.2, f1[order], 0.4, label="F1 at the label's threshold")
    axes.set_yticks(places, [names[i][:24] for i in order])
    axes.set(xlabel="average precision, F1 (1 is the best)", ylabel="label", xlim=(0, 1))
    axes.invert_yaxis()
    if len(known) > len(order):
        axes.set_title(f"the {len(order)} worst of {len(known)} labels", fontsize=10)
    axes.grid(alpha=0.3, axis="x")
    figure.legend(loc="outside upper right", ncols=2, fontsize=9)
    _save(figure, path)


def draw_images(images, titles, path):
    """Draws images with a title each, or says that there are none. Writes a PNG.

    Args:
        images: Arrays of uint8.
        titles: As many strings.
        path: `epath.Path` of the PNG.
    """
    columns = min(8, max(len(images), 3))
    rows = max(-(-len(images) // columns), 1)
    figure, panels = plt.subplots(
        rows, columns, figsize=(2 * columns, 2.5 * rows), layout="constrained", squeeze=False
    )
    for panel in panels.ravel():
        panel.axis("off")
    for panel, image, title in zip(panels.ravel(), images, titles, strict=False):
        panel.imshow(image)
        panel.set_title(title, fontsize=10)
    if not len(images):
        figure.suptitle("no mistakes")
    _save(figure, path)
