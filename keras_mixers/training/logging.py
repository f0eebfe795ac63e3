"""What a run tells: a progress bar, lines for people, log.jsonl for scripts, TensorBoard."""

import json
import sys

import tensorflow as tf
from tqdm import tqdm

from keras_mixers import files

_UNREADABLE = "unreadable_images.txt"


class Log:
    """Writes nothing where `folder` is None, shows nothing where `quiet`.

    Args:
        folder: `epath.Path` of the run folder, or None.
        name: Of the run, before the progress bar.
        images: In the whole run.
        done: Of these, before this start.
        quiet: For all processes of a job but the first.
    """

    def __init__(self, folder, name, images, done, quiet=False):
        self._folder = None if quiet else folder
        patience = 0.5 if sys.stderr.isatty() else 30.0
        self._bar = tqdm(
            total=images,
            initial=done,
            desc=name,
            unit="img",
            unit_scale=True,
            mininterval=patience,
            maxinterval=patience,
            dynamic_ncols=True,
            bar_format="{l_bar}{bar:20}{r_bar}",
            disable=quiet,
        )
        self._board = None
        if self._folder is not None:
            self._board = _board(self._folder)

    def forget_after(self, step, unreadable):
        """Drops what a resumed run writes again: later steps, and unreadable images but these."""
        if self._folder is None:
            return
        if unreadable or (self._folder / _UNREADABLE).exists():
            files.write(self._folder / _UNREADABLE, "".join(f"{line}\n" for line in unreadable))
        if not (path := self._folder / "log.jsonl").exists():
            return
        lines = path.read_text().splitlines(keepends=True)
        kept = [line for line in lines if _step_of(line) <= step]
        files.write(path, "".join(kept))

    def advance(self, images, **shown):
        """Moves the bar."""
        self._bar.set_postfix(refresh=False, **shown)
        self._bar.update(images)

    def say(self, sentence):
        """Prints a line beside the bar."""
        if not self._bar.disable:
            self._bar.write(sentence, file=sys.stderr)

    def record(self, kind, step, values):
        """Adds a line to log.jsonl and points to TensorBoard."""
        if self._folder is None:
            return
        line = json.dumps({"kind": kind, "step": step, **values})
        with (self._folder / "log.jsonl").open("a") as file:
            file.write(line + "\n")
        with self._board.as_default(step):
            for name, value in values.items():
                tf.summary.scalar(f"{kind}/{name}", value)
        self._board.flush()

    def note_unreadable(self, line):
        """Adds a line to unreadable_images.txt."""
        if self._folder is not None:
            with (self._folder / _UNREADABLE).open("a") as file:
                file.write(line + "\n")

    def close(self):
        self._bar.close()
        if self._board is not None:
            self._board.close()


def means(sums, scores):
    """Returns the mean loss and what `scores` counts of the images that were summed up, by name."""
    images = sums["images"]
    return {"loss": sums["loss"] / images, **scores.training_means(sums, images)}


def step_values(sums, scores, learning_rate):
    """Returns what the log says of the steps that were summed up."""
    return means(sums, scores) | {
        "learning_rate": learning_rate,
        "gradient_norm": sums["norm"] / sums["steps"],
        "images_per_second": sums["images"] / max(sums["seconds"], 1e-9),
        "waiting_for_data": sums["waited"] / max(sums["seconds"], 1e-9),
    }


def epoch_line(epoch, epochs, results, scores):
    """Returns the results of an epoch, as the history has them, for people."""

    def said(names, prefix):
        return ", ".join(f"{shown} {results[prefix + name]:.1%}" for name, shown in names.items())

    line = (
        f"epoch {epoch} of {epochs}: loss {results['loss']:.3f}, {said(scores.training, '')}; "
        f"validation: loss {results['val_loss']:.3f}, {said(scores.validation, 'val_')}"
    )
    if "ema_loss" in results:
        name, shown = next(iter(scores.validation.items()))
        line += f"; EMA: {shown} {results['ema_' + name]:.1%}"
    return line


def show_batch(folder, images):
    """Gives a batch, uint8 of shape `(images, height, width, 3)`, to TensorBoard.

    Raises:
        OSError: It cannot be written.
    """
    board = _board(folder)
    try:
        with board.as_default(0):
            tf.summary.image("augmented", images, max_outputs=len(images))
        board.close()
    except tf.errors.OpError as error:
        raise OSError(error.message) from None


def _board(folder):
    path = folder / "tensorboard"
    try:
        return tf.summary.create_file_writer(str(path))
    except tf.errors.OpError:
        raise OSError(f"{path} must be a folder, or be left to be made") from None


def _step_of(line):
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")  # A line cut off by a kill.
