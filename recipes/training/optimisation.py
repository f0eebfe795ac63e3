"""Learning-rate schedule, optimizer and loss of a run."""

import keras


def cosine_schedule(config, steps_per_epoch):
    """Linear warm-up to `config.learning_rate`, then half a cosine down to 0 at the last step."""
    warmup_steps = round(config.warmup_epochs * steps_per_epoch)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup_steps else config.learning_rate,
        warmup_target=config.learning_rate if warmup_steps else None,
        warmup_steps=warmup_steps,
        decay_steps=max(config.epochs * steps_per_epoch - warmup_steps, 1),
    )


def adamw(model, config, steps_per_epoch):
    """Returns AdamW whose weight decay touches the kernels of `model` only."""
    optimizer = keras.optimizers.AdamW(
        cosine_schedule(config, steps_per_epoch),
        weight_decay=config.weight_decay,
        global_clipnorm=config.clip_norm,
    )
    not_decayed = [v for v in model.trainable_variables if v.name != "kernel"]
    optimizer.exclude_from_weight_decay(var_list=not_decayed)
    return optimizer


def cross_entropy(config):
    """Returns the loss of one-hot labels and logits."""
    return keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=config.label_smoothing
    )
