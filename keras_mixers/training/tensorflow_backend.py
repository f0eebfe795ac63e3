"""A training step on TensorFlow: one device, several GPUs, or a TPU with all its hosts."""

import keras
import tensorflow as tf

from keras_mixers.data.batch_order import Shard
from keras_mixers.data.dataset import LOST_CONNECTION
from keras_mixers.layers import DropPath
from keras_mixers.training import losses, optimizers, remat, scores

_SUM = tf.distribute.ReduceOp.SUM


class FusedAdamW(keras.optimizers.AdamW):
    """Keras' AdamW with one operation for each variable, one pass over the memory, not a dozen."""

    def update_step(self, gradient, variable, learning_rate):
        index, dtype = self._get_variable_index(variable), variable.dtype
        step = tf.cast(self.iterations + 1, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=tf.cast(learning_rate, dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, dtype),
        )


class TensorFlowEngine:
    """Holds a model, its optimizer and the EMA of its weights, and moves them by steps.

    Args:
        strategy: A `tf.distribute.Strategy`.
        config: A `TrainingConfig`.
        build: Function without arguments that returns the model, from images to logits.
        steps_per_epoch: For the learning rate's schedule.
    """

    is_chief = True
    watches_signals = False

    def __init__(self, strategy, config, build, steps_per_epoch):
        self._strategy, self._config = strategy, config
        self.replicas = strategy.num_replicas_in_sync
        with strategy.scope():
            self.model = build()
            self._optimizer = optimizers.optimizer(self.model, config, steps_per_epoch, FusedAdamW)
            self._ema = self._copies() if config.ema_decay else []
        self._layer_rates = optimizers.layer_rates(self.model, config)
        self._logits = remat.forward(self.model, config.remat)
        self._scores = scores.of(config)
        # The step sums gradients itself, before it clips them: clipping each replica's by itself,
        # as Keras does, would make the result depend on the number of replicas.
        self._optimizer._all_reduce_sum_gradients = lambda gradients: gradients
        if self.replicas > 1:
            _draw_by_global_place(self.model)
        # AutoGraph would rewrite our code and Keras', for a second or two of each start.
        self._train = tf.function(self._train_on_all, autograph=False)
        self._evaluate = tf.function(self._evaluate_on_all, autograph=False)

    def batches(self, make):
        """Returns this machine's part of each batch, to be iterated over, any number of times.

        Args:
            make: Function of a `Shard` that returns a data set.
        """
        if self.replicas == 1:
            return make(Shard())

        def of_host(context):
            count = self.replicas // context.num_input_pipelines
            return make(Shard(self.replicas, context.input_pipeline_id * count, count))

        return self._strategy.distribute_datasets_from_function(of_host)

    def gathered(self, marks):
        """Returns what the data sets of all devices and hosts say of some parts, as arrays."""
        of_devices = self._strategy.experimental_local_results
        return [array for part in marks for array in of_devices(part)]

    def train_step(self, parts):
        """Takes a step on a batch, a list of `(images, labels)`, one per accumulation step.

        Returns:
            A dict of scalar tensors: sums over the batch, of `loss` and what `scores` counts, and
            the gradient's `norm` before clipping.
        """
        return self._train(tuple(parts))

    def evaluate_step(self, images, labels, weights):
        """Returns a dict of tensors: sums of `loss` and `count`, and of what `scores` counts."""
        return self._evaluate(images, labels, weights)

    def with_ema(self, function):
        """Calls `function` while the model has the EMA as its weights."""
        raw = [variable.numpy() for variable in self.model.weights]
        _assign(self.model.weights, [average.numpy() for average in self._ema])
        try:
            return function()
        finally:
            _assign(self.model.weights, raw)

    def agree_to_stop(self, step, wish):
        """Returns whether to stop after `step`: there is one process, and it is as it wishes."""
        return wish

    def all_have(self, number):
        """Returns whether all processes have the same number: there is one."""
        return True

    def is_lost(self, error):
        """Returns whether an error means that a device or a host is gone."""
        return isinstance(error, LOST_CONNECTION)

    def is_out_of_memory(self, error):
        """Returns whether an error means that the batch does not fit."""
        # A full disk is the same error to TensorFlow.
        out_of_memory = isinstance(error, tf.errors.ResourceExhaustedError)
        return out_of_memory and "No space left" not in str(error)

    def sync_model(self):
        """Gives `model` the weights that training has reached: it has them."""

    def state(self):
        """Returns all that a checkpoint needs, as lists of arrays by name."""
        return {name: [v.numpy() for v in variables] for name, variables in self.variables.items()}

    def load_state(self, state):
        """Takes up what `state` returned."""
        for name, variables in self.variables.items():
            _assign(variables, state[name])

    @property
    def variables(self):
        """All that a step changes, in lists by name."""
        return {
            "trainable": self.model.trainable_variables,
            "non_trainable": self.model.non_trainable_variables,
            "optimizer": self._optimizer.variables,
            "average": self._ema,
        }

    def _copies(self):
        return [
            keras.Variable(
                v.numpy(), dtype=v.dtype, trainable=False, aggregation="only_first_replica"
            )
            for v in self.model.weights
        ]

    def _train_on_all(self, parts):
        return self._sum(self._strategy.run(self.replica_step, args=(parts,)))

    def _evaluate_on_all(self, *batch):
        return self._sum(self._strategy.run(self._evaluate_on_one, args=batch))

    def _sum(self, values):
        return {name: self._strategy.reduce(_SUM, value, None) for name, value in values.items()}

    def replica_step(self, parts):
        """Takes a step, as one replica does it; see `train_step`."""
        variables = self.model.trainable_variables
        gradients, sums = None, None
        for images, labels in parts:
            images = tf.cast(images, tf.float32)
            if gradients is not None:
                # Zero, but not before the part before this one is done, so that their
                # activations are never in memory together.
                images += _zero_after(gradients)
            more = self._gradients(images, labels, variables)
            gradients, sums = more if gradients is None else _added((gradients, sums), more)
        context = tf.distribute.get_replica_context()
        gradients = context.all_reduce(_SUM, gradients)
        gradients, norm = optimizers.clipped(gradients, self._config.clip_norm)
        before = [tf.identity(v) for v in variables] if self._layer_rates else []
        self._optimizer.apply(gradients, variables)
        if before:
            after = optimizers.part_of_the_way(before, variables, self._layer_rates)
            _assign(variables, after)
        for average, variable in zip(self._ema, self.model.weights, strict=False):
            decay = self._config.ema_decay
            average.assign(average * decay + variable * (1 - decay))
        return sums | {"norm": norm / self.replicas}

    def _gradients(self, images, labels, variables):
        with tf.GradientTape() as tape:
            logits = self._logits(images)
            loss = tf.reduce_sum(losses.losses(labels, logits, self._config.loss))
            mean = loss / self._config.batch_size
        sums = {"loss": loss, **self._scores.training_sums(labels, logits)}
        return tape.gradient(mean, variables), sums

    def _evaluate_on_one(self, images, labels, weights):
        logits = self.model(images, training=False)
        return self._scores.evaluation_sums(labels, logits, weights)


def _zero_after(gradients):
    return 0.0 * tf.reshape(gradients[0], (-1,))[0]


def _added(sums, more):
    return tf.nest.map_structure(tf.add, sums, more)


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _draw_by_global_place(model):
    """Makes each image's stochastic depth depend on its place in the global batch.

    By itself each replica would draw the same for its own part.
    """
    for layer in model.layers:
        if isinstance(layer, DropPath):
            layer.draw = _global_draw


def _global_draw(batch, seed):
    context = tf.distribute.get_replica_context()
    everyone = keras.random.uniform((batch * context.num_replicas_in_sync,), seed=seed)
    first = tf.cast(context.replica_id_in_sync_group, tf.int32) * batch
    return tf.slice(everyone, (first,), (batch,))
