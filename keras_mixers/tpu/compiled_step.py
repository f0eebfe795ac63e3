"""A recipe's training step compiled for a TPU, without a TPU, as JAX or TensorFlow traces it.

`by_jax` compiles what the recipes run on JAX: one program sharded over the whole slice.
`by_tensorflow` compiles what `TPUStrategy` runs on each of its replicas as if it were the only one:
the exchange of gradients and statistics, which TensorFlow adds where there are TPUs, is not in it.
"""

import re
import typing

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxlib import _jax
from jaxlib.mlir import ir

from keras_mixers.errors import UsageError, first_line
from keras_mixers.tpu import refusals
from keras_mixers.tpu.chips import CHIPS, kind_of
from keras_mixers.training import tpu_options


class Step(typing.NamedTuple):
    """A training step in the chip's own program. Sizes are in bytes and for one chip."""

    text: str
    """The program in XLA's HLO, optimized."""
    costs: dict
    """XLA's count of `flops` and `bytes accessed`."""
    memory: typing.Any
    """XLA's sizes of arguments, results, temporary arrays and code."""
    variables: dict
    """Sizes of the training's variables by kind: `trainable`, `optimizer`..."""
    layers: dict
    """What to call each of the model's layers, by its name; those of all blocks alike."""
    loops: int
    """How often a loop in it runs; XLA's counts have each loop once."""
    exchanged_elsewhere: int
    """Bytes of gradients, at least, that another program exchanges."""


def chips_of(topology):
    """Returns the chips of a slice such as "v5e:4x4", which exist for the compiler only.

    Raises:
        UsageError: The compiler knows no such slice.
    """
    kind = kind_of(topology)
    options = {"chip_config_name": CHIPS[kind].config} if CHIPS[kind].config else {}
    try:
        return topologies.get_topology_desc(topology, "tpu", **options).devices
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        raise UsageError(
            "--topology must be a slice that this libtpu can compile for, such as a smaller one. "
            f"Received: {topology} (it says: {first_line(error)})"
        ) from None
    except (RuntimeError, ImportError, OSError) as error:
        raise UsageError(
            "libtpu is there but cannot be loaded; fix it by: pip install --force-reinstall "
            f'--no-deps "libtpu>=0.0.51" (JAX says: {first_line(error)})'
        ) from None


def by_jax(config, build, chips):
    """Compiles the step of a recipe for a slice.

    Args:
        config: A `TrainingConfig`.
        build: Function without arguments that returns the model.
        chips: From `chips_of`.

    Returns:
        A `Step`.

    Raises:
        DoesNotFitError: It needs more memory than there is.
    """
    from keras_mixers.training.jax_step import JaxStep

    mesh = Mesh(np.array(chips), ("batch",))
    everywhere = NamedSharding(mesh, PartitionSpec())
    by_image = NamedSharding(mesh, PartitionSpec(None, "batch"))
    step = JaxStep(config, build(), 1)
    state = {
        kind: [jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=everywhere) for v in variables]
        for kind, variables in step.variables.items()
    }
    batch = [
        jax.ShapeDtypeStruct((config.gradient_accumulation_steps, *shape), dtype, sharding=by_image)
        for shape, dtype in _part(step.model, config.micro_batch_size)
    ]
    options = tpu_options.compiler_options(config, chips[0].device_kind)
    lowered = jax.jit(step.train, donate_argnums=0).lower(state, *batch)
    compiled = _compiled(lambda: lowered.compile(compiler_options=options))
    return Step(
        compiled.as_text(),
        compiled.cost_analysis(),
        compiled.memory_analysis(),
        _sizes(step.variables),
        _names(step.model),
        loops=config.gradient_accumulation_steps,
        exchanged_elsewhere=0,
    )


def by_tensorflow(config, build, chips):
    """Compiles what one replica does in the step of a recipe; see `by_jax`."""
    import tensorflow as tf

    from keras_mixers.training.tensorflow_backend import TensorFlowEngine

    engine = TensorFlowEngine(tf.distribute.get_strategy(), config, build, 1)
    shapes = _part(engine.model, config.micro_batch_size // len(chips))
    part = [tf.TensorSpec(shape, dtype) for shape, dtype in shapes]
    step = tf.function(
        lambda *part: engine.replica_step([part] * config.gradient_accumulation_steps),
        jit_compile=True,
    )
    # The CPU's, before anything is optimized: for a TPU, TensorFlow refuses to show any.
    try:
        program = step.experimental_get_compiler_ir(*part)(stage="hlo_serialized")
    except ValueError as error:  # An array with more than 2**31 numbers, for example.
        *_, reason = str(error).strip().splitlines()
        raise UsageError(
            "TensorFlow cannot trace a step of this size; a smaller --batch-size helps. Received: "
            f"{config.batch_size:,} ({reason.strip()})"
        ) from None
    compiled = _compiled(lambda: _compile_hlo(program, chips[0]))
    (module,) = compiled.hlo_modules()
    sizes = _sizes(engine.variables)
    # The compiler may exchange float32 gradients as what they were converted from.
    gradients = sizes["trainable"] // (2 if config.precision == "mixed_bfloat16" else 1)
    return Step(
        module.to_string(),
        compiled.cost_analysis(),
        compiled.get_compiled_memory_stats(),
        sizes,
        _names(engine.model),
        loops=1,  # The parts of a batch follow one another.
        exchanged_elsewhere=gradients if len(chips) > 1 else 0,
    )


def _compile_hlo(program, chip):
    """Compiles TensorFlow's HLO for one chip, as `TPUStrategy` does for each replica."""
    from jax._src.interpreters.mlir import make_ir_context

    options = _jax.CompileOptions()
    options.num_replicas = options.num_partitions = 1
    options.device_assignment = _jax.DeviceAssignment.create(np.zeros((1, 1), "int32"))
    with make_ir_context():
        text = ir.Module.parse(_jax.mlir.hlo_to_stablehlo(program)).operation.get_asm(
            enable_debug_info=True
        )
        # Identities that the conversion leaves, and the TPU's compiler does not know.
        text = re.sub(r"mhlo\.copy (%\S+) : (\S+)", r"stablehlo.reshape \1 : (\2) -> \2", text)
        return chip.client.compile(ir.Module.parse(text), _jax.DeviceList((chip,)), options)


def _compiled(compile):
    try:
        return compile()
    except jax.errors.JaxRuntimeError as error:
        raise refusals.refusal(error) from None


def _part(model, images):
    """Returns shape and type of what a step takes: images, labels."""
    return [
        ((images, *model.input_shape[1:]), "uint8"),
        ((images, *model.output_shape[1:]), "float32"),
    ]


def _sizes(variables):
    return {
        kind: sum(int(np.prod(v.shape)) * np.dtype(v.dtype).itemsize for v in of_kind)
        for kind, of_kind in variables.items()
    }


def _names(model):
    names = {layer.name: layer.name for layer in model.layers}
    for block in model.blocks:
        of_block = zip(block.layers, block.roles, strict=True)
        names |= {layer.name: f"block_*_{role}" for layer, role in of_block}
    return names
