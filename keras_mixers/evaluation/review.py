"""What a trained model gets wrong: a table, a confusion matrix, and the images of its mistakes."""

import dataclasses

from tabulate import tabulate

from keras_mixers import files
from keras_mixers.evaluation import loading, metrics
from keras_mixers.training import plots

_SHOWN_MISTAKES = 24
_SHOWN_PAIRS = 5
_PRINTED_CLASSES = 12


def review(model, config, validation):
    """Prints how often the model is right; draws what it takes for what, and its worst mistakes.

    Args:
        model: The trained `keras.Model`.
        config: Its `TrainingConfig`, whose run folder receives the files.
        validation: The `ImageData` to evaluate on.
    """
    config = dataclasses.replace(config, gradient_accumulation_steps=1)
    result = metrics.evaluate(loading.of_keras(model, config.model), validation, config)
    folder, names = files.named("--out", config.out), validation.class_names
    matrix = result.confusion(len(names))
    metrics.write_confusion(folder / "confusion.csv", matrix, names)
    plots.draw_confusion(matrix, names, folder / "confusion.png")
    places, indices = result.worst(_SHOWN_MISTAKES)
    images = [validation.image(index, config) for index in indices]
    titles = [
        f"{names[result.labels[place]][:16]}\nas {names[result.predicted[place]][:16]}"
        for place in places
    ]
    plots.draw_images(images, titles, folder / "mistakes.png")
    print(_tables(result, names, matrix, folder))


def _tables(result, names, matrix, folder):
    wrong = [
        (matrix[i, j], names[i], names[j]) for i in range(len(names)) for j in range(len(names))
    ]
    wrong = sorted((w for w in wrong if w[0] and w[1] != w[2]), key=lambda w: -w[0])[:_SHOWN_PAIRS]
    rows = [
        ("right", f"{result.top(1).mean():.2%} of {len(result.labels):,} images"),
        *(("taken for another", f"{n:,} x {name} for {other}") for n, name, other in wrong),
        ("drawn in", f"{folder}/confusion.png, {folder}/mistakes.png"),
    ]
    text = tabulate(rows, ("validation", ""), "github", disable_numparse=True)
    if len(names) <= _PRINTED_CLASSES:
        rows = [(name, *row) for name, row in zip(names, matrix.tolist(), strict=True)]
        text += "\n\n" + tabulate(rows, ("class \\ taken for", *names), "github")
    return text
