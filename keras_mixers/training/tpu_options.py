"""What the compiler of TPUs is told, beside the program."""

import os

_SCOPED_VMEM = "xla_tpu_scoped_vmem_limit_kib"

# JAX's name of v5e. v4 and v5p have less than its 128 MiB of vector memory (VMEM); v6e has as much,
# but four times the arithmetic, so that keeping arrays on the chip is worth more there.
_TUNED = "TPU v5 lite"


def compiler_options(config, device_kind):
    """Returns what to compile a step with, for JAX's `compiler_options`.

    An operation's tiles lie in a part of VMEM; the rest of it holds arrays between operations. The
    smaller tiles are, the more often an operation reads its operands again; the larger, the fewer
    arrays stay on the chip. docs/performance.md compares.

    Args:
        config: A `TrainingConfig`.
        device_kind: JAX's name of the device. No options for what is no v5e, and where
            LIBTPU_INIT_ARGS, which is read with TensorFlow as well, says another limit.
    """
    limit = config.tpu_scoped_vmem
    if limit is None or vmem_is_set_elsewhere() or device_kind != _TUNED:
        return {}
    return {_SCOPED_VMEM: str(limit)}


def vmem_is_set_elsewhere():
    """Returns whether LIBTPU_INIT_ARGS limits an operation's part of VMEM."""
    return _SCOPED_VMEM in os.environ.get("LIBTPU_INIT_ARGS", "")
