"""Learning-rate schedule and optimizers of a run."""

import math

import keras
from keras import ops

from keras_mixers.training.model import depths


@keras.saving.register_keras_serializable(package="keras_mixers")
class WarmupThenDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear rise to the peak, then a line or half a cosine down to the last step.

    Args:
        peak: Rate at the end of the warm-up.
        warmup_steps: Steps of the rise; 0 begins at the peak.
        total_steps: Steps in all; the last one's rate is `final`.
        shape: `"linear"` or `"cosine"`.
        start: Rate of the first step of the rise.
        final: Rate of the last step.
    """

    def __init__(self, peak, warmup_steps, total_steps, shape, start=0.0, final=0.0):
        super().__init__()
        self.peak, self.start, self.final = peak, start, final
        self.warmup_steps, self.total_steps, self.shape = warmup_steps, total_steps, shape

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rising = self.start + (self.peak - self.start) * step / max(self.warmup_steps, 1)
        past = (step - self.warmup_steps) / max(self.total_steps - 1 - self.warmup_steps, 1)
        past = ops.clip(past, 0.0, 1.0)
        if self.shape == "cosine":
            past = (1 - ops.cos(math.pi * past)) / 2
        falling = self.peak + (self.final - self.peak) * past
        return ops.where(step < self.warmup_steps, rising, falling)

    def get_config(self):
        names = ("peak", "warmup_steps", "total_steps", "shape", "start", "final")
        return {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable(package="keras_mixers")
class LAMB(keras.optimizers.Lamb):
    """LAMB with its weight decay inside the trust ratio, as in the paper; Keras' has it outside.

    Paper: https://arxiv.org/abs/1904.00962, Algorithm 2.
    """

    def _apply_weight_decay(self, variables):
        """Nothing: `update_step` does it."""

    def update_step(self, gradient, variable, learning_rate):
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        step = ops.cast(self.iterations + 1, variable.dtype)
        index = self._get_variable_index(variable)
        momentum, velocity = self._momentums[index], self._velocities[index]
        self.assign_add(momentum, (gradient - momentum) * (1 - self.beta_1))
        self.assign_add(velocity, (ops.square(gradient) - velocity) * (1 - self.beta_2))
        mean = momentum / (1 - ops.power(self.beta_1, step))
        root_mean_square = ops.sqrt(velocity / (1 - ops.power(self.beta_2, step)))
        update = mean / (root_mean_square + self.epsilon)
        if self.weight_decay and self._use_weight_decay(variable):
            update = update + self.weight_decay * variable
        # Not ops.norm, which takes no kernel of a convolution on TensorFlow.
        old, change = (ops.sqrt(ops.sum(ops.square(x))) for x in (variable, update))
        trust = ops.where((old > 0) & (change > 0), old / ops.maximum(change, 1e-30), 1.0)
        self.assign_sub(variable, rate * trust * update)


def schedule(config, steps_per_epoch):
    """Returns the learning rate as a function of the step."""
    return WarmupThenDecay(
        peak=config.learning_rate,
        warmup_steps=round(config.warmup_epochs * steps_per_epoch),
        total_steps=config.epochs * steps_per_epoch,
        shape=config.schedule,
        start=config.warmup_learning_rate,
        final=config.final_learning_rate,
    )


def optimizer(model, config, steps_per_epoch, adamw=keras.optimizers.AdamW):
    """Returns the optimizer, built, whose weight decay touches the kernels of `model` only.

    Clipping is not its business: the gradient must be summed over all devices before.

    Args:
        model: Whose trainable variables it moves.
        config: A `TrainingConfig`.
        steps_per_epoch: For the learning rate's schedule.
        adamw: Class of the optimizer of that name.
    """
    rate = schedule(config, steps_per_epoch)
    common = {"weight_decay": config.weight_decay}
    if config.optimizer == "sgd":
        result = keras.optimizers.SGD(rate, momentum=config.beta_1, **common)
    else:
        common |= dict(beta_1=config.beta_1, beta_2=config.beta_2, epsilon=config.epsilon)
        result = {"adamw": adamw, "lamb": LAMB}[config.optimizer](rate, **common)
    not_decayed = [v for v in model.trainable_variables if v.name != "kernel"]
    result.exclude_from_weight_decay(var_list=not_decayed)
    result.build(model.trainable_variables)
    return result


def layer_rates(model, config):
    """Returns each trainable variable's share of the learning rate, none where all have the same.

    The head has 1, the last block `layer_decay`, the one before it the square of that, and so on
    down to the stem (https://arxiv.org/abs/2106.08254, appendix).
    """
    if config.layer_decay == 1:
        return []
    by_layer = depths(model)
    top = max(by_layer.values())
    rates = {
        id(variable): config.layer_decay ** (top - depth)
        for layer, depth in by_layer.items()
        for variable in layer.trainable_variables
    }
    return [rates[id(variable)] for variable in model.trainable_variables]


def part_of_the_way(before, after, rates):
    """Returns where variables end that take only a share of a step, as by a smaller rate.

    Every optimizer's step, weight decay and all, is in proportion to its learning rate.
    """
    return [
        old + rate * (new - old) if rate < 1 else new
        for old, new, rate in zip(before, after, rates, strict=True)
    ]


def clipped(gradients, largest):
    """Returns the gradients, scaled down to a global norm of `largest`, and the norm they had."""
    norm = ops.sqrt(sum(ops.sum(ops.square(ops.cast(g, "float32"))) for g in gradients))
    if largest is None:
        return gradients, norm
    factor = largest / ops.maximum(norm, largest)
    return [g * ops.cast(factor, g.dtype) for g in gradients], norm
