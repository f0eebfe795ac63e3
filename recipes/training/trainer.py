"""The training loop: steps, evaluation, checkpoints, and an end that loses nothing."""

import collections
import contextlib
import functools
import math
import pathlib
import signal
import tempfile
import time

import keras

from recipes.training import config as config_module
from recipes.training import data, files, optimisation
from recipes.training.checkpoints import Checkpoints
from recipes.training.errors import Disconnected, Preempted, RunError, UsageError
from recipes.training.journal import Journal

_IN_FLIGHT = 2  # Steps given to the device ahead of the one whose numbers are read.


def train(
    config,
    build,
    training,
    validation,
    make_engine,
    folder=None,
    name="training",
    on_step=lambda step: None,
):
    """Trains a model and returns it with its learning curves.

    Args:
        config: A `TrainingConfig`.
        build: Function without arguments that returns a model from pictures to logits.
        training: `PictureData` or `ArrayData`.
        validation: The same; evaluated after every epoch.
        make_engine: From `devices.connect`.
        folder: `epath.Path` of the run folder, for checkpoints and logs; what it holds is
            continued. None keeps nothing.
        name: Shown before the progress bar.
        on_step: Called with the number of steps done, after each.

    Returns:
        The engine, whose `model` is trained, and a list of one dict per epoch: `step`, `loss`,
        `accuracy`, `val_loss`, `val_accuracy`, `val_top_5` and, with an average of the weights,
        `ema_loss`, `ema_accuracy`, `ema_top_5`.

    Raises:
        RunError: The run cannot go on; its class has the exit status.
    """
    keras.utils.set_random_seed(config.seed)
    steps = data.steps_per_epoch(len(training), config.batch_size)
    engine = make_engine(config, build, steps)
    loop = _Loop(config, engine, training, validation, folder, name, on_step)
    with contextlib.nullcontext([]) if engine.watches_signals else _stop_signals() as signals:
        loop.run(signals)
    engine.sync_model()
    return engine, loop.history


class _Loop:
    def __init__(self, config, engine, training, validation, folder, name, on_step):
        self._config, self._engine, self._on_step = config, engine, on_step
        self._training, self._validation = training, validation
        self._steps_per_epoch = data.steps_per_epoch(len(training), config.batch_size)
        self._total = self._steps_per_epoch * config.epochs
        self._learning_rate = optimisation.schedule(config, self._steps_per_epoch)
        self.history, self._step = [], 0
        self._epoch_sums, self._log_sums = collections.Counter(), collections.Counter()
        self._pending, self._bad = collections.deque(), set()
        self._checkpoints = None
        warnings = []
        if folder is not None:
            self._checkpoints = Checkpoints(folder / "checkpoints", config.keep_checkpoints)
            self._resume(warnings.append)
        pictures = self._total * config.batch_size
        done = self._step * config.batch_size
        self._journal = Journal(folder, name, pictures, done, quiet=not engine.is_chief)
        self._journal.forget_after(self._step)
        for sentence in warnings:
            self._journal.say(sentence)
        self._saved_at, self._saved_step = time.monotonic(), self._step

    def run(self, signals):
        try:
            if self._step < self._total:
                self._run(signals)
        except OSError as error:
            raise RunError(f"The run folder cannot be written: {error}.") from None
        except RunError:
            raise
        except Exception as error:
            if "No space left" in str(error):  # As TensorFlow, which writes TensorBoard's, says it.
                raise RunError("The run folder cannot be written: the disk is full.") from None
            if self._engine.is_out_of_memory(error):
                raise RunError(
                    "The device has not enough memory: raise --accumulation or lower --batch-size, "
                    f"and start again to go on from {self._last()}."
                ) from None
            if not self._engine.is_lost(error):
                raise
            raise Disconnected(
                "The connection to a device or to another process of the job was lost; start the "
                f"same command again (on all hosts) to go on from {self._last()}. "
                f"It said: {str(error).splitlines()[0][:200]}"
            ) from None
        finally:
            self._journal.close()

    def _run(self, signals):
        batches = iter(self._engine.batches(self._training_batches))
        while self._step < self._total:
            start = time.monotonic()
            parts = [next(batches) for _ in range(self._config.accumulation)]
            self._log_sums["waited"] += time.monotonic() - start
            self._note_bad(self._training, [part[2] for part in parts], self._config.train_split)
            sums = self._engine.train_step([part[:2] for part in parts])
            self._step += 1
            self._pending.append((self._step, sums))
            self._read(_IN_FLIGHT)
            self._log_sums["seconds"] += time.monotonic() - start
            self._on_step(self._step)
            if self._step % self._steps_per_epoch == 0:
                self._end_epoch()
            if self._engine.agree_to_stop(self._step, bool(signals)):
                self._save()
                raise Preempted(
                    f"Stopped by {signals[0] if signals else 'SIGTERM'} after step "
                    f"{self._step:,}; start the same command again to go on from {self._last()}."
                )
            if self._is_due():
                self._save()

    def _training_batches(self, share):
        return self._training.training_batches(self._config, self._step, share)

    def _read(self, leave):
        """Takes in the numbers of steps until `leave` are unread."""
        while len(self._pending) > leave:
            step, sums = self._pending.popleft()
            self._take_in(step, _floats(sums))

    def _take_in(self, step, sums):
        if not math.isfinite(sums["loss"]):
            raise RunError(
                f"The loss of step {step:,} is {sums['loss']}: lower --learning-rate, lengthen "
                f"--warmup-epochs or set --clip-norm, and start from {self._last()}."
            )
        sums["pictures"] = self._config.batch_size
        self._epoch_sums.update(sums)
        self._log_sums.update(sums | {"steps": 1})
        loss, accuracy = _means(self._epoch_sums)
        self._journal.advance(
            self._config.batch_size, loss=f"{loss:.3f}", accuracy=f"{accuracy:.1%}"
        )
        if step % self._config.log_steps == 0:
            self._log(step)

    def _log(self, step):
        sums = self._log_sums
        loss, accuracy = _means(sums)
        values = {
            "loss": loss,
            "accuracy": accuracy,
            "learning_rate": float(self._learning_rate(step - 1)),
            "gradient_norm": sums["norm"] / sums["steps"],
            "images_per_second": sums["pictures"] / max(sums["seconds"], 1e-9),
            "waiting_for_data": sums["waited"] / max(sums["seconds"], 1e-9),
        }
        self._journal.record("train", step, values)
        sums.clear()

    def _end_epoch(self):
        self._read(0)
        loss, accuracy = _means(self._epoch_sums)
        self._epoch_sums.clear()
        results = {"step": self._step, "loss": loss, "accuracy": accuracy}
        results |= self._evaluate("val")
        if self._config.ema_decay:
            results |= self._engine.with_averages(lambda: self._evaluate("ema"))
        self.history.append(results)
        values = {name: value for name, value in results.items() if name != "step"}
        self._journal.record("epoch", self._step, values)
        if self._checkpoints is not None:
            self._journal.say(_epoch_line(len(self.history), self._config.epochs, results))

    def _evaluate(self, prefix):
        sums, split = [], self._config.validation_split
        for *batch, bad in self._evaluation_data:
            self._note_bad(self._validation, [bad], split)
            sums.append(self._engine.evaluate_step(*batch))
            if len(sums) > _IN_FLIGHT:
                sums[-1 - _IN_FLIGHT] = _floats(sums[-1 - _IN_FLIGHT])
        totals = collections.Counter()
        for values in sums:
            totals.update(_floats(values))
        names = {"loss": "loss", "correct": "accuracy", "correct_5": "top_5"}
        return {f"{prefix}_{new}": totals[old] / totals["count"] for old, new in names.items()}

    @functools.cached_property
    def _evaluation_data(self):
        return self._engine.batches(
            lambda share: self._validation.evaluation_batches(self._config, share)
        )

    def _note_bad(self, pictures, bad, split):
        values = [value for part in bad for value in self._engine.bad_pictures(part)]
        found = {int(i) for value in values for i in value[value >= 0]}
        for index in sorted(found):
            if (split, index) in self._bad:
                continue
            self._bad.add((split, index))
            line = f"{pictures.name(index)}: {pictures.why_unreadable(index)}"
            self._journal.say(f"Skipped: {line}")
            self._journal.note("bad_images.txt", line)
        of_split = [pictures.name(index) for name, index in self._bad if name == split]
        if found and len(of_split) > self._config.max_bad_images * len(pictures):
            raise RunError(
                f"{len(of_split)} of {len(pictures):,} pictures of {split} could not be read, more "
                f"than --max-bad-images {self._config.max_bad_images:g} allows: mend or remove "
                f"them ({', '.join(sorted(of_split)[:10])}), or allow more."
            )

    def _is_due(self):
        if self._checkpoints is None or self._saved_step == self._step:
            return False
        every = self._config.checkpoint_steps
        waited = time.monotonic() - self._saved_at
        return (
            self._step == self._total
            or (every is not None and self._step % every == 0)
            or waited >= 60 * self._config.checkpoint_minutes
        )

    def _save(self):
        self._read(0)
        if self._checkpoints is None:
            return
        if self._engine.is_chief:
            about = {
                "config": config_module.as_dict(self._config),
                "classes": self._training.classes,
                "history": self.history,
                "epoch_sums": self._epoch_sums,
                "log_sums": self._log_sums,
                "bad": sorted(self._bad),
            }
            self._checkpoints.save(self._step, self._engine.state(), about)
        self._saved_at, self._saved_step = time.monotonic(), self._step

    def _resume(self, warn):
        found = self._checkpoints.load_newest(warn)
        if not self._engine.all_have(found[0] if found else 0):
            raise UsageError(
                "--out must be a folder that all processes of the job share: they do not find the "
                "same newest checkpoint in it."
            )
        if found is None:
            return
        self._step, state, about = found
        self._engine.load_state(state)
        self.history = about["history"]
        self._epoch_sums.update(about["epoch_sums"])
        self._log_sums.update(about["log_sums"])
        self._bad = {tuple(pair) for pair in about["bad"]}
        warn(f"Continuing after step {self._step:,} of {self._total:,}.")

    def _last(self):
        paths = self._checkpoints.paths() if self._checkpoints is not None else []
        return str(paths[-1]) if paths else "the beginning: there is no checkpoint"


def save_models(engine, folder):
    """Writes model.keras and, with an average of the weights, model_ema.keras, complete or not."""
    _save_model(engine.model, folder / "model.keras")
    if engine.has_averages:

        def save():
            engine.sync_model()
            _save_model(engine.model, folder / "model_ema.keras")

        engine.with_averages(save)
        engine.sync_model()


def _save_model(model, path):
    with tempfile.TemporaryDirectory() as scratch:
        local = pathlib.Path(scratch, path.name)
        model.save(local)
        files.write(path, local.read_bytes())


def prepare_folder(folder, config):
    """Makes the run folder and writes the configuration, or checks the one that is there.

    Raises:
        UsageError: The folder cannot be written, or belongs to a run of another configuration.
    """
    path = folder / "config.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            config_module.save(config, path)
            return
        (folder / ".writable").write_text("")
        (folder / ".writable").unlink()
    except OSError as error:
        raise UsageError(f"--out must be a folder to write into. Received: {error}") from None
    differing = config_module.differences(config_module.load(path), config)
    if differing:
        raise UsageError(
            f"--out {folder} holds a run of another configuration: give another folder, or the "
            f"settings of that run (--config {path}). They differ in:\n  " + "\n  ".join(differing)
        )


def _means(sums):
    return sums["loss"] / sums["pictures"], sums["correct"] / sums["pictures"]


def _floats(values):
    return {name: float(value) for name, value in values.items()}


def _epoch_line(epoch, epochs, results):
    line = (
        f"epoch {epoch} of {epochs}: loss {results['loss']:.3f}, accuracy "
        f"{results['accuracy']:.1%}; validation: loss {results['val_loss']:.3f}, top-1 "
        f"{results['val_accuracy']:.1%}, top-5 {results['val_top_5']:.1%}"
    )
    if "ema_accuracy" in results:
        line += f"; averaged weights: top-1 {results['ema_accuracy']:.1%}"
    return line


@contextlib.contextmanager
def _stop_signals():
    """Yields a list that receives the name of SIGTERM or SIGINT instead of its usual effect."""
    received = []

    def receive(number, frame):
        received.append(signal.Signals(number).name)

    try:
        before = {s: signal.signal(s, receive) for s in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # Not in the main thread: signals are somebody else's.
        before = {}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
