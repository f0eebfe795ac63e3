"""A training step on JAX: any number of GPUs or TPU cores, of one host or of many."""

import functools

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from recipes.training import optimisation, pixels
from recipes.training.data import LOST_CONNECTION, Share

# In what JAX says when another process is gone: status codes, and the libraries for collectives.
_LOST = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "Gloo", "NCCL", "heartbeat")


class JaxEngine:
    """What `TensorFlowEngine` is, by one program over all devices (`keras.distribution`).

    Args:
        distribution: A `keras.distribution.DataParallel`.
        config: A `TrainingConfig`.
        build: Function without arguments that returns the model, from pictures to logits.
        steps_per_epoch: For the learning rate's schedule.
    """

    def __init__(self, distribution, config, build, steps_per_epoch):
        self._config = config
        self.replicas, self.processes = jax.device_count(), jax.process_count()
        self.is_chief = jax.process_index() == 0
        # JAX itself agrees with the other processes on where to stop after a SIGTERM.
        self.watches_signals = self.processes > 1
        mesh = distribution.device_mesh.backend_mesh
        axis = distribution.batch_dim_name
        self._everywhere = NamedSharding(mesh, PartitionSpec())
        self._by_picture = NamedSharding(mesh, PartitionSpec(axis))
        self._by_picture_of_part = NamedSharding(mesh, PartitionSpec(None, axis))
        self.model = build()
        self._optimizer = optimisation.optimizer(self.model, config, steps_per_epoch)
        self._state = self._initial_state()
        self.has_averages = config.ema_decay is not None
        self._train = jax.jit(self._train_on_all, donate_argnums=0)
        self._evaluate = jax.jit(self._evaluate_on_all)

    def batches(self, make):
        """Returns this process' part of each batch, to be iterated over, any number of times.

        Args:
            make: Function of a `Share` that returns a data set.
        """
        return make(Share(self.processes, jax.process_index(), 1))

    def bad_pictures(self, bad):
        """Returns the indices in what a step returned as `bad`, as a set."""
        # Every process has them all: to gather them here would make each wait for the others, who
        # read their steps' numbers at other moments.
        return {int(index) for index in np.asarray(bad).ravel() if index >= 0}

    def train_step(self, parts):
        """Takes a step; see `TensorFlowEngine.train_step`."""
        batch = (
            self._global(np.stack(arrays), self._by_picture_of_part)
            for arrays in zip(*parts, strict=True)
        )
        self._state, sums, bad = self._train(self._state, *batch)
        return sums, bad

    def evaluate_step(self, *batch):
        """Judges a batch; see `TensorFlowEngine.evaluate_step`."""
        batch = [self._global(array, self._by_picture) for array in batch]
        state = self._state
        return self._evaluate(state["trainable"], state["non_trainable"], *batch)

    def with_averages(self, function):
        """Calls `function` while the model has the averages as its weights."""
        raw = self._state
        count = len(raw["trainable"])
        averages = dict(zip(self._averaged, raw["average"], strict=True))
        self._state = raw | {
            "trainable": [averages[i] for i in range(count)],
            "non_trainable": [
                averages.get(count + i, value) for i, value in enumerate(raw["non_trainable"])
            ],
        }
        try:
            return function()
        finally:
            self._state = raw

    def agree_to_stop(self, step, wish):
        """Returns whether to stop after `step`: all processes of a job answer the same."""
        if self.processes == 1:
            return wish
        return multihost_utils.reached_preemption_sync_point(step)

    def all_have(self, number):
        """Returns whether all processes have the same number."""
        if self.processes == 1:
            return True
        numbers = multihost_utils.process_allgather(np.array(number))
        return bool((numbers == number).all())

    def is_lost(self, error):
        """Returns whether an error means that another process of the job is gone."""
        if isinstance(error, LOST_CONNECTION):
            return True
        of_jax = self.processes > 1 and isinstance(error, jax.errors.JaxRuntimeError)
        return of_jax and any(word in str(error) for word in _LOST)

    def is_out_of_memory(self, error):
        """Returns whether an error means that the batch does not fit."""
        return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)

    def state(self):
        """Returns all that a checkpoint needs, as lists of arrays by name."""
        return {name: [np.asarray(v) for v in values] for name, values in self._state.items()}

    def load_state(self, state):
        """Takes up what `state` returned."""
        self._state = {
            name: [self._copy(v, old.dtype) for v, old in zip(state[name], values, strict=True)]
            for name, values in self._state.items()
        }

    def sync_model(self):
        """Gives `model` the weights that training has reached."""
        for kind in ("trainable", "non_trainable"):
            variables = getattr(self.model, f"{kind}_variables")
            for variable, value in zip(variables, self._state[kind], strict=True):
                variable.assign(np.asarray(value))

    @functools.cached_property
    def _averaged(self):
        """Places of `model.weights` among the trainable and then the non-trainable variables."""
        variables = self.model.trainable_variables + self.model.non_trainable_variables
        place = {id(variable): i for i, variable in enumerate(variables)}
        return [place[id(weight)] for weight in self.model.weights]

    def _initial_state(self):
        state = {
            "trainable": self.model.trainable_variables,
            "non_trainable": self.model.non_trainable_variables,
            "optimizer": self._optimizer.variables,
            "average": self.model.weights if self._config.ema_decay else [],
        }
        # Copies: the step gives its arguments' memory away, and the averages begin as the weights.
        return {name: [self._copy(v, v.dtype) for v in values] for name, values in state.items()}

    def _copy(self, value, dtype):
        array = np.array(value).astype(dtype)
        return jax.make_array_from_callback(array.shape, self._everywhere, lambda i: array[i])

    def _global(self, array, sharding):
        return jax.make_array_from_process_local_data(sharding, np.asarray(array))

    def _train_on_all(self, state, images, labels, bad):
        def add_part(carry, part):
            non_trainable, gradients, sums = carry
            (_, (non_trainable, more)), part_gradients = jax.value_and_grad(
                self._mean_loss, has_aux=True
            )(state["trainable"], non_trainable, *part)
            gradients = jax.tree.map(jax.numpy.add, gradients, part_gradients)
            return (non_trainable, gradients, jax.tree.map(jax.numpy.add, sums, more)), None

        zeros = [jax.numpy.zeros_like(variable) for variable in state["trainable"]]
        start = (state["non_trainable"], zeros, {"loss": 0.0, "correct": 0.0})
        (non_trainable, gradients, sums), _ = jax.lax.scan(add_part, start, (images, labels))
        gradients, norm = optimisation.clipped(gradients, self._config.clip_norm)
        trainable, optimizer = self._optimizer.stateless_apply(
            state["optimizer"], gradients, state["trainable"]
        )
        variables = [*trainable, *non_trainable]
        decay = self._config.ema_decay
        averages = [
            average * decay + variables[place] * (1 - decay)
            for average, place in zip(state["average"], self._averaged, strict=False)
        ]
        state = {
            "trainable": trainable,
            "non_trainable": non_trainable,
            "optimizer": optimizer,
            "average": averages,
        }
        sums |= {"norm": norm, "bad": optimisation.count_bad(bad)}
        return state, sums, self._of_all_processes(bad)

    def _of_all_processes(self, bad):
        return jax.lax.with_sharding_constraint(bad, self._everywhere)

    def _mean_loss(self, trainable, non_trainable, images, labels):
        images = pixels.scale(images, self._config.pixel_range)
        logits, non_trainable = self.model.stateless_call(
            trainable, non_trainable, images, training=True
        )
        loss = optimisation.losses(labels, logits, self._config.loss).sum()
        sums = {"loss": loss, "correct": optimisation.correct(labels, logits).sum()}
        return loss / self._config.batch_size, (non_trainable, sums)

    def _evaluate_on_all(self, trainable, non_trainable, images, labels, weights, bad):
        images = pixels.scale(images, self._config.pixel_range)
        logits, _ = self.model.stateless_call(trainable, non_trainable, images, training=False)
        sums = optimisation.evaluation_sums(labels, logits, weights, bad, self._config.loss)
        return sums, self._of_all_processes(bad)
