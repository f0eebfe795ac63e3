"""The training loop: steps, evaluation, checkpoints, and an orderly end."""

import collections
import contextlib
import functools
import math
import time

import keras
import numpy as np

from keras_mixers.data import batch_order
from keras_mixers.data.unreadable_images import UnreadableImages, indices
from keras_mixers.errors import RunError, UsageError
from keras_mixers.training import config as config_module
from keras_mixers.training import ends, optimizers, run_folder, scores
from keras_mixers.training.checkpoints import Checkpoints, to_go_on_from
from keras_mixers.training.logging import Log, epoch_line, means, step_values

_IN_FLIGHT = 2  # Steps given to the device ahead of the one whose numbers are read.


def train(
    config,
    build,
    training,
    validation,
    make_engine,
    folder=None,
    name="training",
    on_start=lambda: None,
    on_step=lambda step: None,
):
    """Trains a model and returns it with its learning curves.

    Args:
        config: A `TrainingConfig`.
        build: Function without arguments that returns a model from images to logits.
        training: `ImageData` or `ArrayData`.
        validation: The same; evaluated after every epoch.
        make_engine: From `distribution.connect`.
        folder: `epath.Path` of the run folder, for checkpoints and logs; what it holds is
            continued. None keeps nothing.
        name: Shown before the progress bar.
        on_start: Called before the first step, after what the folder holds is found to be of this
            run, and not at all where it is of another.
        on_step: Called with the number of steps done, after each.

    Returns:
        The engine, whose `model` is trained, and a list of one dict per epoch: `step`, `loss` and
        what `scores` counts of training; the same of validation, as `val_loss` and so on, and with
        an EMA of the weights as `ema_loss`; and `unreadable`, the number of images of both sets
        found unreadable so far.

    Raises:
        RunError: The run cannot go on; its class has the exit status.
    """
    keras.utils.set_random_seed(config.seed)
    steps = batch_order.steps_per_epoch(len(training), config.batch_size)
    engine = make_engine(config, build, steps)
    checkpoints = None
    if folder is not None:
        checkpoints = Checkpoints(folder / "checkpoints", config.keep_checkpoints)
    watch = contextlib.nullcontext([]) if engine.watches_signals else ends.stop_signals()
    try:
        with watch as signals:
            loop = _Loop(config, engine, training, validation, checkpoints, signals, on_step)
            loop.run(on_start, functools.partial(Log, folder, name, quiet=not engine.is_chief))
        if folder is not None:
            run_folder.save_models(engine, folder, ema=bool(config.ema_decay))
            if engine.is_chief:
                run_folder.save_thresholds(folder, training.class_names, loop.thresholds)
        engine.sync_model()
    except RunError:
        raise
    except Exception as error:
        explained = ends.explained(error, engine, to_go_on_from(checkpoints))
        if explained is None:
            raise
        raise explained from None
    return engine, loop.history


class _Loop:
    def __init__(self, config, engine, training, validation, checkpoints, signals, on_step):
        self._config, self._engine, self._on_step = config, engine, on_step
        self._training, self._validation = training, validation
        self._about_data = run_folder.about_data(training, validation)
        self._steps_per_epoch = batch_order.steps_per_epoch(len(training), config.batch_size)
        self._total = self._steps_per_epoch * config.epochs
        self._learning_rate = optimizers.schedule(config, self._steps_per_epoch)
        self._scores = scores.of(config)
        self.history, self._step = [], 0
        self.thresholds = {}
        """Lists, one for each class: of the model, "val", and of the EMA of its weights, "ema"."""
        self._epoch_sums, self._log_sums = collections.Counter(), collections.Counter()
        self._pending, self._moments = collections.deque(), 0
        self._unreadable = UnreadableImages(config)
        self._checkpoints, self._signals = checkpoints, signals

    def run(self, on_start, open_log):
        """Takes the steps that are left.

        Args:
            on_start: As of `train`.
            open_log: Function of `(images=, done=)` that returns a `Log`.
        """
        warnings = []
        if self._checkpoints is not None:
            self._resume(warnings.append)
        on_start()
        self._saved_at, self._saved_step = time.monotonic(), self._step
        size = self._config.batch_size
        self._run_log = open_log(images=self._total * size, done=self._step * size)
        try:
            self._run_log.forget_after(self._step, self._unreadable.lines())
            for sentence in warnings:
                self._run_log.say(sentence)
            self._run()
        except ends.StopAsked:
            self._save()
            last = to_go_on_from(self._checkpoints)
            raise ends.stopped(self._signals, self._step, last) from None
        finally:
            self._run_log.close()

    def _run(self):
        batches = None
        while self._step < self._total or self._is_evaluation_due():
            if not self._is_evaluation_due():
                batches = batches or iter(self._engine.batches(self._training_batches))
                self._take_step(batches)
            if self._is_evaluation_due():
                self._end_epoch()
            self._stop_if_asked()
            if self._is_due():
                self._save()

    def _take_step(self, batches):
        start = time.monotonic()
        parts = [next(batches) for _ in range(self._config.gradient_accumulation_steps)]
        waited = time.monotonic() - start
        sums = self._engine.train_step([part[:2] for part in parts])
        marks = self._engine.gathered([part[2] for part in parts])
        self._step += 1
        times = {"waited": waited, "seconds": time.monotonic() - start}
        self._pending.append((self._step, sums, marks, times))
        self._read(_IN_FLIGHT)
        self._on_step(self._step)

    def _is_evaluation_due(self):
        return self._step >= (len(self.history) + 1) * self._steps_per_epoch

    def _stop_if_asked(self):
        # Counted, because the processes of a job agree on a count where they all stop.
        self._moments += 1
        if self._engine.agree_to_stop(self._moments, bool(self._signals)):
            raise ends.StopAsked

    def _training_batches(self, shard):
        return self._training.training_batches(self._config, self._step, shard)

    def _read(self, leave):
        """Takes in the numbers of steps until `leave` are unread."""
        while len(self._pending) > leave:
            step, sums, marks, times = self._pending.popleft()
            start = time.monotonic()
            sums = _numbers(sums)  # Waits for the device.
            times["seconds"] += time.monotonic() - start
            self._note_unreadable(self._training, marks, self._config.train_split)
            self._take_in(step, sums, times)

    def _take_in(self, step, sums, times):
        for name in ("loss", "norm"):
            if not math.isfinite(sums[name]):
                what = f"the {name} of step {step:,} is {sums[name]}"
                raise ends.diverged(what, to_go_on_from(self._checkpoints))
        sums["images"] = self._config.batch_size
        self._epoch_sums.update(sums)
        self._log_sums.update(sums | times | {"steps": 1})
        found = means(self._epoch_sums, self._scores)
        shares = {n: f"{found[name]:.1%}" for name, n in self._scores.training.items()}
        self._run_log.advance(self._config.batch_size, loss=f"{found['loss']:.3f}", **shares)
        if step % self._config.log_steps == 0:
            self._log(step)

    def _log(self, step):
        rate = float(self._learning_rate(step - 1))
        self._run_log.record("train", step, step_values(self._log_sums, self._scores, rate))
        self._log_sums.clear()

    def _end_epoch(self):
        self._read(0)
        results = {"step": self._step, **means(self._epoch_sums, self._scores)}
        results |= self._evaluate("val")
        if self._config.ema_decay:
            results |= self._engine.with_ema(lambda: self._evaluate("ema"))
        results["unreadable"] = len(self._unreadable.lines())
        # Not before: a stop while evaluating leaves all this to be done again.
        self._epoch_sums.clear()
        self.history.append(results)
        values = {name: value for name, value in results.items() if name != "step"}
        self._run_log.record("epoch", self._step, values)
        if self._checkpoints is not None:
            epoch = len(self.history)
            self._run_log.say(epoch_line(epoch, self._config.epochs, results, self._scores))

    def _evaluate(self, prefix):
        started = (
            (self._engine.evaluate_step(*batch), self._engine.gathered([marks]))
            for *batch, marks in self._evaluation_data
        )
        totals = collections.Counter()
        for sums, marks in _in_flight(started):
            totals.update(_numbers(sums))
            self._note_unreadable(self._validation, marks, self._config.validation_split)
            self._stop_if_asked()
        if not totals["count"]:
            raise RunError(
                f"None of the {len(self._validation):,} images of "
                f"{self._config.validation_split} could be read: fix them, or choose another "
                "--validation-split."
            )
        found, thresholds = self._scores.evaluation_means(totals)
        if thresholds is not None:
            self.thresholds[prefix] = thresholds
        found = {"loss": totals["loss"] / totals["count"], **found}
        return {f"{prefix}_{name}": value for name, value in found.items()}

    @functools.cached_property
    def _evaluation_data(self):
        return self._engine.batches(
            lambda shard: self._validation.evaluation_batches(self._config, shard)
        )

    def _note_unreadable(self, images, marks, split):
        log = self._run_log
        self._unreadable.note(images, indices(marks), split, log.say, log.note_unreadable)

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
                "data": self._about_data,
                "history": self.history,
                "epoch_sums": self._epoch_sums,
                "log_sums": self._log_sums,
                "unreadable": self._unreadable.state(),
                "thresholds": self.thresholds,
            }
            state = self._engine.state()
            if not all(np.isfinite(value).all() for values in state.values() for value in values):
                what = f"after step {self._step:,} a weight is not a finite number"
                raise ends.diverged(what, to_go_on_from(self._checkpoints))
            self._checkpoints.save(self._step, state, about)
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
        run_folder.require_same(about["config"], self._config, self._checkpoints.folder.parent)
        last = to_go_on_from(self._checkpoints)
        run_folder.require_same_data(about["data"], self._about_data, last)
        self._engine.load_state(state)
        self.history = about["history"]
        self._epoch_sums.update(about["epoch_sums"])
        self._log_sums.update(about["log_sums"])
        self._unreadable.load_state(about["unreadable"])
        self.thresholds = about.get("thresholds", {})  # Earlier versions knew of none.
        warn(f"Continuing after step {self._step:,} of {self._total:,}.")


def _in_flight(started):
    """Yields each of what was started, once `_IN_FLIGHT` more have been."""
    pending = collections.deque()
    for each in started:
        pending.append(each)
        if len(pending) > _IN_FLIGHT:
            yield pending.popleft()
    yield from pending


def _numbers(values):
    """Takes tensors from their device: of a scalar a float, else a float64 array."""
    arrays = {name: np.asarray(value, "float64") for name, value in values.items()}
    return {name: array if array.ndim else float(array) for name, array in arrays.items()}
