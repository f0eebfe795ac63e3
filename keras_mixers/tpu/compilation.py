"""Compiles a training step for TPUs that are not there; finds the largest batch that fits."""

import dataclasses

from keras_mixers.tpu.chips import check_slice
from keras_mixers.tpu.refusals import DoesNotFitError

# No TPU is asked for where there is none, nothing is computed on one, and several compilers may
# run side by side. The TPU's library complains where nobody says which machine it is on.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}
LEAST = 8  # Images per chip and part of a batch; `find_batch` tries multiples of it.


def planned(about, classes, find_batch=False):
    """Returns the `Plan` of a recipe's step.

    `ENVIRONMENT` must be set before JAX and TensorFlow are imported.

    Args:
        about: A `plan_report.About`; its batch size is where `find_batch` begins.
        classes: How many the data has.
        find_batch: Whether the largest batch that fits is wanted, to 1 in 16, or 8 a chip.

    Raises:
        DoesNotFitError: The step needs more memory than a chip has.
        UsageError: There is no such slice, or the batch cannot be divided among its chips.
    """
    from keras_mixers.tpu import compiled_step, plan, plan_report
    from keras_mixers.training import distribution

    config = about.config
    check_slice(about.topology)
    chips = compiled_step.chips_of(about.topology)

    def attempt(images):
        """Returns the plan of a step with so many images per chip."""
        tried = dataclasses.replace(config, batch_size=images * len(chips))
        with plan_report.waiting(f"compiling {config.model} for {images} images a chip"):
            try:
                step = compile_step(tried, classes, chips, about.backend)
            except DoesNotFitError as error:
                error.batch_size = tried.batch_size
                raise
        return plan.plan(step, tried.batch_size, about.kind, len(chips))

    images = config.batch_size // len(chips)
    if find_batch:
        return largest(attempt, images, LEAST * config.gradient_accumulation_steps)
    distribution.check_divides(config, len(chips))
    return attempt(images)


def compile_step(config, classes, chips, backend):
    """Compiles a recipe's step.

    Args:
        config: A `TrainingConfig`.
        classes: How many the data has.
        chips: From `compiled_step.chips_of`.
        backend: `"jax"` or `"tensorflow"`, Keras' backend.

    Returns:
        A `compiled_step.Step`.
    """
    import keras

    from keras_mixers.tpu import compiled_step
    from keras_mixers.training import model

    keras.config.set_dtype_policy(config.precision)
    compile = {"jax": compiled_step.by_jax, "tensorflow": compiled_step.by_tensorflow}[backend]
    return compile(config, lambda: model.build(config, classes), chips)


def largest(attempt, images, least):
    """Returns the plan of the largest batch per chip that fits, to 1 in 16.

    Args:
        attempt: Function of the images per chip that returns a plan or raises `DoesNotFitError`.
        images: The number to begin with.
        least: The smallest number to try. All others are multiples of it.
    """
    fits, best, too_many, loads = 0, None, None, []
    guess = max(images // least, 1)
    while too_many is None or too_many - fits > max(fits // 16, 1):
        try:
            best, fits = attempt(guess * least), guess
            loads.append((guess, sum(best.memory.values()) / best.capacity))
        except DoesNotFitError as error:
            if guess == 1:
                raise
            too_many = guess
            loads.append((guess, error.needed / error.available))
        guess = _next_guess(fits, too_many, loads)
    return best


def _next_guess(fits, too_many, loads):
    """Returns where the memory would be full by the last two `loads`, but well between the ends."""
    (number, load), (other, other_load) = loads[-1], [(0, 0.0), *loads][-2]
    slope = (load - other_load) / (number - other)
    # Near its limits the compiler saves memory, so that no line is to be trusted.
    guess = number + (1 - load) / slope if slope > 0 else number
    low, high = (fits, too_many) if too_many else (fits, 8 * fits)
    margin = (high - low) // 8 if fits and too_many else 0
    return min(max(int(guess), low + 1 + margin), high - 1 - margin)
