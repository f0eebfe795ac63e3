"""What a trained model gets wrong: tables, figures, and the images of its mistakes."""

import dataclasses

from tabulate import tabulate

from keras_mixers import files
from keras_mixers.evaluation import loading, metrics, multi_label, probabilities
from keras_mixers.training import plots, run_folder

_SHOWN_MISTAKES = 24
_SHOWN_PAIRS = 5
_PRINTED_CLASSES = 12


def review(model, config, validation):
    """Prints how often the model is right; draws what it gets wrong, and its worst mistakes.

    That is, what it takes for what; or of several labels an image, how well it finds each.

    Args:
        model: The trained `keras.Model`.
        config: Its `TrainingConfig`, whose run folder receives the files.
        validation: The `ImageData` to evaluate on.
    """
    config = dataclasses.replace(config, gradient_accumulation_steps=1)
    loaded = loading.of_keras(model, config.model)
    folder, names = files.named("--out", config.out), validation.class_names
    if config.multi_label:
        _review_several(loaded, config, validation, folder, names)
        return
    result = metrics.evaluate(loaded, validation, config)
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


def _review_several(loaded, config, validation, folder, names):
    by = probabilities.made_by(loaded.model, config.loss)
    thresholds = run_folder.thresholds(folder / "model.keras")
    result = multi_label.evaluate(loaded, validation, config, by, thresholds)
    rows = multi_label.per_class(result, names)
    metrics.write_rows(folder / "classes.csv", rows)
    plots.draw_classes(names, result.average_precision(), result.f1(), folder / "classes.png")
    places, indices = result.worst(_SHOWN_MISTAKES)
    images = [validation.image(index, config) for index in indices]
    titles = [_mistake(result, place, names) for place in places]
    plots.draw_images(images, titles, folder / "mistakes.png")
    lines = [
        ("images", f"{len(result.labels):,}"),
        *multi_label.rows(result, names, "of each label, found on these images"),
        ("drawn in", f"{folder}/classes.png, {folder}/mistakes.png"),
    ]
    print(tabulate(lines, ("validation", ""), "github", disable_numparse=True))
    if len(names) <= _PRINTED_CLASSES:
        print("\n" + tabulate(rows[1:], rows[0], "github", disable_numparse=True))


def _mistake(result, place, names):
    """What a model missed and what it saw in vain, a line each, the clearest one first."""
    real, found = result.labels[place], result.found[place]
    error = abs(real - result.probabilities[place])
    lines = []
    for sign, wrong in (("missed", real & ~found), ("wrongly", found & ~real)):
        order = sorted(wrong.nonzero()[0], key=lambda label: -error[label])
        if order:
            more = f" +{len(order) - 1}" if len(order) > 1 else ""
            lines.append(f"{sign} {names[order[0]][:12]}{more}")
    return "\n".join(lines)


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
