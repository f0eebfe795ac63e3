"""What the compiler of TPUs is told, beside the program."""

import os

_SCOPED_VMEM = "xla_tpu_scoped_vmem_limit_kib"

# KiB of a chip's vector memory (VMEM) that one operation may take for its tiles, by JAX's name of
# the chip. The rest holds arrays between operations. docs/performance.md has the comparison; MaxText
# trains dense models on v6e with the same. Chips that are not named here keep the compiler's own.
_KIB = {"TPU v5 lite": 98304, "TPU v6 lite": 98304}


def compiler_options(device_kind):
    """Returns what to compile a step with, for JAX's `compiler_options`.

    Args:
        device_kind: JAX's name of the device. Empty options for what is no TPU, and where
            LIBTPU_INIT_ARGS, which TensorFlow reads as well, says another limit.
    """
    if device_kind not in _KIB or _SCOPED_VMEM in os.environ.get("LIBTPU_INIT_ARGS", ""):
        return {}
    return {_SCOPED_VMEM: str(_KIB[device_kind])}
