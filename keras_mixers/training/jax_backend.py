"""A training step on JAX: any number of GPUs or TPU cores, of one host or of many."""

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from keras_mixers.data.batch_order import Shard
from keras_mixers.data.dataset import LOST_CONNECTION
from keras_mixers.training import tpu_options
from keras_mixers.training.jax_step import JaxStep

# In what JAX says when another process is gone: status codes, and the libraries for collectives.
_LOST = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "Gloo", "NCCL", "heartbeat")


class JaxEngine:
    """What `TensorFlowEngine` is, by one program over all devices (`keras.distribution`).

    Args:
        distribution: A `keras.distribution.DataParallel`.
        config: A `TrainingConfig`.
        build: Function without arguments that returns the model, from images to logits.
        steps_per_epoch: For the learning rate's schedule.
    """

    def __init__(self, distribution, config, build, steps_per_epoch):
        self.replicas, self.processes = jax.device_count(), jax.process_count()
        self.is_chief = jax.process_index() == 0
        # JAX itself agrees with the other processes on where to stop after a SIGTERM.
        self.watches_signals = self.processes > 1
        mesh = distribution.device_mesh.backend_mesh
        axis = distribution.batch_dim_name
        self._everywhere = NamedSharding(mesh, PartitionSpec())
        self._by_image = NamedSharding(mesh, PartitionSpec(axis))
        self._by_image_of_part = NamedSharding(mesh, PartitionSpec(None, axis))
        self.model = build()
        self._step = JaxStep(config, self.model, steps_per_epoch)
        self._state = self._initial_state()
        self._train = jax.jit(
            self._step.train,
            donate_argnums=0,
            compiler_options=tpu_options.compiler_options(config, jax.devices()[0].device_kind),
        )
        self._evaluate = jax.jit(self._step.evaluate)
        self._gather = jax.jit(lambda array: array, out_shardings=self._everywhere)

    def batches(self, make):
        """Returns this process' part of each batch, to be iterated over, any number of times.

        Args:
            make: Function of a `Shard` that returns a data set.
        """
        return make(Shard(self.processes, jax.process_index(), 1))

    def gathered(self, marks):
        """Returns what the data sets of all processes say of some parts, as arrays."""
        if self.processes == 1:
            return marks
        # By the devices, in the order of the steps: to gather them when they are read would make
        # each process wait for the others, who read at other moments.
        return [self._gather(self._global(np.stack(marks), self._by_image_of_part))]

    def train_step(self, parts):
        """Takes a step; see `TensorFlowEngine.train_step`."""
        batch = (
            self._global(np.stack(arrays), self._by_image_of_part)
            for arrays in zip(*parts, strict=True)
        )
        self._state, sums = self._train(self._state, *batch)
        return sums

    def evaluate_step(self, *batch):
        """See `TensorFlowEngine.evaluate_step`."""
        batch = [self._global(array, self._by_image) for array in batch]
        state = self._state
        return self._evaluate(state["trainable"], state["non_trainable"], *batch)

    def with_ema(self, function):
        """Calls `function` while the model has the EMA as its weights."""
        raw = self._state
        count = len(raw["trainable"])
        ema = dict(zip(self._step.places_of_ema, raw["average"], strict=True))
        self._state = raw | {
            "trainable": [ema[i] for i in range(count)],
            "non_trainable": [
                ema.get(count + i, value) for i, value in enumerate(raw["non_trainable"])
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

    def _initial_state(self):
        # Copies: the step gives its arguments' memory away, and the EMA begins as the weights.
        variables = self._step.variables
        return {name: [self._copy(v, v.dtype) for v in vs] for name, vs in variables.items()}

    def _copy(self, value, dtype):
        array = np.asarray(value).astype(dtype)
        return jax.make_array_from_callback(array.shape, self._everywhere, lambda i: array[i])

    def _global(self, array, sharding):
        return jax.make_array_from_process_local_data(sharding, np.asarray(array))
