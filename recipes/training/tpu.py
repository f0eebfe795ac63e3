"""What the compiler of TPUs is told, beside the program."""

import os

_SCOPED_VMEM = "xla_tpu_scoped_vmem_limit_kib"

# JAX's names of v5e and v6e, which have 128 MiB of vector memory (VMEM); the others have less.
_LARGE_VMEM = ("TPU v5 lite", "TPU v6 lite")


def compiler_options(config, device_kind):
    """Returns what to compile a step with, for JAX's `compiler_options`.

    An operation's tiles lie in a part of VMEM; the rest of it holds arrays between operations. The
    smaller tiles are, the more often an operation reads its operands again; the larger, the fewer
    arrays stay on the chip. docs/performance.md compares.

    Args:
        config: A `TrainingConfig`.
        device_kind: JAX's name of the device. No options for what has another memory, and where
            LIBTPU_INIT_ARGS, which TensorFlow reads as well, says another limit.
    """
    limit = config.tpu_scoped_vmem
    given = _SCOPED_VMEM in os.environ.get("LIBTPU_INIT_ARGS", "")
    if limit is None or given or device_kind not in _LARGE_VMEM:
        return {}
    return {_SCOPED_VMEM: str(limit)}
