"""The arithmetic of a training step on JAX, as pure functions of the state."""

import functools

import jax
import keras

from keras_mixers.training import losses, optimizers, remat, scores


class JaxStep:
    """A model, its optimizer, and what a step does to their variables.

    The state is a dict of lists of arrays, in the order of `variables`.

    Args:
        config: A `TrainingConfig`.
        model: From images to logits.
        steps_per_epoch: For the learning rate's schedule.
    """

    def __init__(self, config, model, steps_per_epoch):
        self.model, self._config = model, config
        self._optimizer = optimizers.optimizer(model, config, steps_per_epoch)
        self._layer_rates = optimizers.layer_rates(model, config)
        self._logits = remat.forward(model, config.remat)
        self._scores = scores.of(config)

    @property
    def variables(self):
        """The variables that begin as the state, in lists by name."""
        return {
            "trainable": self.model.trainable_variables,
            "non_trainable": self.model.non_trainable_variables,
            "optimizer": self._optimizer.variables,
            "average": self.model.weights if self._config.ema_decay else [],
        }

    @property
    def _of_model(self):
        return self.model.trainable_variables + self.model.non_trainable_variables

    @functools.cached_property
    def places_of_ema(self):
        """Places of `model.weights` among the trainable and then the non-trainable variables."""
        variables = self._of_model
        place = {id(variable): i for i, variable in enumerate(variables)}
        return [place[id(weight)] for weight in self.model.weights]

    def train(self, state, images, labels):
        """Takes a step on arrays of `(parts, images, ...)`, one part per accumulation step.

        Returns:
            The new state; what `TensorFlowEngine.train_step` returns.
        """

        def add_part(carry, part):
            non_trainable, gradients, sums = carry
            (_, (non_trainable, more)), part_gradients = jax.value_and_grad(
                self._mean_loss, has_aux=True
            )(state["trainable"], non_trainable, *part)
            gradients = jax.tree.map(jax.numpy.add, gradients, part_gradients)
            return (non_trainable, gradients, jax.tree.map(jax.numpy.add, sums, more)), None

        zeros = [jax.numpy.zeros_like(variable) for variable in state["trainable"]]
        shape = jax.ShapeDtypeStruct(labels.shape[1:], "float32")
        counted = jax.eval_shape(self._scores.training_sums, shape, shape)
        start = (state["non_trainable"], zeros, dict.fromkeys(["loss", *counted], 0.0))
        (non_trainable, gradients, sums), _ = jax.lax.scan(add_part, start, (images, labels))
        gradients, norm = optimizers.clipped(gradients, self._config.clip_norm)
        trainable, optimizer = self._optimizer.stateless_apply(
            state["optimizer"], gradients, state["trainable"]
        )
        if self._layer_rates:
            before = state["trainable"]
            trainable = optimizers.part_of_the_way(before, trainable, self._layer_rates)
        variables = [*trainable, *non_trainable]
        decay = self._config.ema_decay
        ema = [
            average * decay + variables[place] * (1 - decay)
            for average, place in zip(state["average"], self.places_of_ema, strict=False)
        ]
        state = {
            "trainable": trainable,
            "non_trainable": non_trainable,
            "optimizer": optimizer,
            "average": ema,
        }
        return state, sums | {"norm": norm}

    def evaluate(self, trainable, non_trainable, images, labels, weights):
        """See `TensorFlowEngine.evaluate_step`."""
        logits, _ = self.model.stateless_call(trainable, non_trainable, images, training=False)
        return self._scores.evaluation_sums(labels, logits, weights)

    def _mean_loss(self, trainable, non_trainable, images, labels):
        images = jax.numpy.asarray(images, "float32")
        mapping = zip(self._of_model, [*trainable, *non_trainable], strict=True)
        with keras.StatelessScope(list(mapping)) as scope:
            logits = self._logits(images)
        variables = self.model.non_trainable_variables
        non_trainable = [scope.get_current_value(variable) for variable in variables]
        loss = losses.losses(labels, logits, self._config.loss).sum()
        sums = {"loss": loss, **self._scores.training_sums(labels, logits)}
        return loss / self._config.batch_size, (non_trainable, sums)
