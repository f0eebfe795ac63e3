"""Which devices a run uses. Nothing else in the recipes knows."""

import contextlib
import ctypes
import functools
import os
import re
import signal
import socket
import sys
import typing

import keras

from keras_mixers.errors import Disconnected, UsageError, first_line


class Devices(typing.NamedTuple):
    """Where a run takes place."""

    make_engine: typing.Callable
    """Function of `(config, build, steps_per_epoch)` that returns the engine."""
    about: str
    """What they are, for people."""
    is_chief: bool
    """Whether this process is the one that writes and prints."""


def prepare(config):
    """Sets what cannot be set once anything has been computed, such as a look at the images.

    TensorFlow takes no more of a GPU's memory than it needs, and nothing of it on JAX; the CPU is
    split into `config.cpu_devices`.

    Raises:
        UsageError: Something has been computed.
    """
    if keras.backend.backend() == "jax":
        import jax

        hide_accelerators_from_tensorflow()
        if config.cpu_devices > 1:
            jax.config.update("jax_num_cpu_devices", config.cpu_devices)
        return
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError):  # In use already.
            tf.config.experimental.set_memory_growth(gpu, True)
    _split_cpu(config.cpu_devices)


def connect(config):
    """Finds the devices that `config` asks for, and sets the precision that suits them.

    To be called after `prepare`, or before anything is computed.

    Returns:
        `Devices`.

    Raises:
        UsageError: They cannot be used, or do not divide the batch.
    """
    backend = keras.backend.backend()
    if backend not in ("jax", "tensorflow"):
        raise UsageError(f"KERAS_BACKEND must be tensorflow or jax. Received: {backend}")
    prepare(config)
    connect_by = _connect_jax if backend == "jax" else _connect_tensorflow
    make, count, kind = connect_by(config)
    check_divides(config, count)
    precision = _precision(config, kind)
    keras.config.set_dtype_policy(precision)
    plural = "" if count == 1 else "s"
    about = f"{count} {kind} device{plural}, {keras.backend.backend()}, {precision}"
    return Devices(make, about, is_chief=_process_index() == 0)


def _process_index():
    if keras.backend.backend() != "jax":
        return 0
    import jax

    return jax.process_index()


def _connect_tensorflow(config):
    import tensorflow as tf

    from keras_mixers.training.tensorflow_backend import TensorFlowEngine

    if config.multi_host:
        raise UsageError(
            "--multi-host needs JAX: set KERAS_BACKEND=jax. (A TPU slice with several hosts is "
            "one --tpu-name on TensorFlow.)"
        )
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    strategy, kind = _strategy(config)

    def make(*args):
        return TensorFlowEngine(strategy, *args)

    return make, strategy.num_replicas_in_sync, kind


def _strategy(config):
    import tensorflow as tf

    if config.tpu:
        return _tpu_strategy(config.tpu_name), "TPU"
    gpus = tf.config.list_physical_devices("GPU")
    kind, count = ("GPU", len(gpus)) if gpus else ("CPU", config.cpu_devices)
    names = [f"{kind}:{i}" for i in range(count)]
    if len(names) == 1:
        return tf.distribute.get_strategy(), kind
    return mirrored(tuple(names)), kind


@functools.cache
def mirrored(names):
    """Returns the one `MirroredStrategy` of these devices: TensorFlow mixes up those of several."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(names)


def _split_cpu(count):
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    there = tf.config.get_logical_device_configuration(cpu)
    if count > len(there or [None]):
        try:
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * count
            )
        except RuntimeError as error:
            raise UsageError(f"--cpu-devices must be set before anything runs: {error}") from None


def _tpu_strategy(name):
    import tensorflow as tf

    asked = f"--tpu-name {name}" if name else "--tpu"
    try:
        _check_answers(name or "")
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name or "local")
        if name:
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except Exception as error:  # Of many kinds: ValueError, URLError, several of TensorFlow's.
        raise UsageError(
            f"{asked}: no TPU answered; start on a TPU VM with tensorflow-tpu installed (extra "
            "tpu), check the name by `gcloud compute tpus tpu-vm list`, or leave --tpu out. "
            f"TensorFlow says: {first_line(error)}"
        ) from None


def _check_answers(address, seconds=20):
    """Raises OSError where a grpc:// address does not: TensorFlow would wait for it for ever."""
    place = re.fullmatch(r"grpc://(.+):(\d+)", address)
    if place:
        socket.create_connection((place[1].strip("[]"), int(place[2])), seconds).close()


def _connect_jax(config):
    import jax

    from keras_mixers.training.jax_backend import JaxEngine

    if config.tpu_name:
        raise UsageError("--tpu-name is for TensorFlow; JAX finds the TPU by itself: --tpu.")
    if config.deterministic:
        raise UsageError(
            "--deterministic is for TensorFlow; leave it out on JAX, where CPUs and TPUs are so "
            "anyway, and GPUs by XLA_FLAGS=--xla_gpu_deterministic_ops=true."
        )
    if config.multi_host:
        _join_job()
    kind = jax.default_backend().upper()
    if config.tpu and kind != "TPU":
        raise UsageError(f"--tpu: JAX finds no TPU but {kind}; install jax[tpu] on a TPU VM.")
    names = [f"{device.platform}:{device.id}" for device in jax.devices()]
    distribution = keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)
    keras.distribution.set_distribution(distribution)

    def make(*args):
        return JaxEngine(distribution, *args)

    return make, jax.device_count(), kind


def _join_job():
    import jax

    if os.environ.get("JAX_PLATFORMS") == "cpu":
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    ctypes.CDLL(None).signal(signal.SIGABRT, _say_that_the_first_process_is_gone)
    addresses = os.environ.get("KERAS_DISTRIBUTION_JOB_ADDRESSES", "those that JAX finds by itself")
    print(
        f"--multi-host: waiting, up to 5 minutes, for all processes of the job ({addresses}).",
        file=sys.stderr,
        flush=True,
    )
    try:
        keras.distribution.initialize()
    except Exception as error:  # ValueError, RuntimeError, JaxRuntimeError.
        raise UsageError(
            "--multi-host: the processes did not find each other; set the same "
            "KERAS_DISTRIBUTION_JOB_ADDRESSES (host:port of the first) and "
            "KERAS_DISTRIBUTION_NUM_PROCESSES on all, and KERAS_DISTRIBUTION_PROCESS_ID from 0. "
            f"JAX says: {first_line(error)}"
        ) from None


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _say_that_the_first_process_is_gone(_):
    # JAX calls abort() when its coordinator does not answer: there is no exception to catch, and
    # Python's own handlers come too late.
    os.write(
        sys.stderr.fileno(),
        b"\nThe first process of the job did not answer or was lost, or JAX failed (see above); "
        b"start the same command again on all hosts to go on from the last checkpoint.\n",
    )
    os._exit(Disconnected.status)


def hide_accelerators_from_tensorflow():
    """For JAX: the images are prepared by TensorFlow, which would take all the GPU's memory."""
    import tensorflow as tf

    for kind in ("GPU", "TPU"):
        tf.config.set_visible_devices([], kind)


def check_divides(config, devices):
    """Raises a `UsageError` where the batch cannot be shared evenly by so many devices."""
    steps = config.gradient_accumulation_steps
    whole = 2 * devices * steps
    if config.batch_size % whole:
        near = max(round(config.batch_size / whole), 1) * whole
        raise UsageError(
            f"--batch-size must be a multiple of {whole}: {devices} devices, "
            f"--gradient-accumulation-steps {steps}, and pairs of images, by which they are mixed "
            f"and replaced. Received: {config.batch_size}; the nearest is {near}"
        )


def _precision(config, kind):
    if config.precision != "auto":
        return config.precision
    return "float32" if kind == "CPU" else "mixed_bfloat16"
