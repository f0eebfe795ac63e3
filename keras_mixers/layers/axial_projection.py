import keras
from keras import ops

from keras_mixers.layers import checks, initializers
from keras_mixers.layers.dense import built_dense


@keras.saving.register_keras_serializable(package="keras_mixers")
class AxialProjection(keras.layers.Layer):
    """sMLPNet's sparse MLP: linear maps along the width and along the height, and their fusion.

    Each linear map (with bias) is shared by all channels and by all rows, or columns. The
    branches are, in this order: the identity, the map along the width, the map along the height.

    Args:
        fusion: `"concat"` (default, the paper's choice): the branches are concatenated and
            projected back by a 1x1 convolution without bias; `"sum"`: their sum;
            `"weighted_sum"`: their sum with one learned scalar per branch, 1 at the start.
        include_identity: Whether the input itself is a branch. Defaults to `True`.
        mode: `"parallel"` (default): both maps see the input; `"sequential"`: the map along the
            height sees the output of the one along the width, and only that result is a branch.
        kernel_initializer: Of every kernel. Defaults to `"lecun_normal"`.
        bias_initializer: Of both biases. Defaults to `"zeros"`; also takes `"fan_in_uniform"`
            (PyTorch's default, which the official code uses for kernels and biases).

    Input and output shape: `(batch, height, width, channels)`, height and width known; they may
        differ.

    Raises:
        ValueError: An argument is out of range; height or width is unknown; a grid comes that
            the layer was not built for.

    Paper: https://arxiv.org/abs/2109.05422, section 3 and ablations.
    """

    def __init__(
        self,
        fusion="concat",
        include_identity=True,
        mode="parallel",
        kernel_initializer="lecun_normal",
        bias_initializer="zeros",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.fusion = checks.one_of("fusion", fusion, ("concat", "sum", "weighted_sum"))
        self.include_identity = checks.one_of("include_identity", include_identity, (True, False))
        self.mode = checks.one_of("mode", mode, ("parallel", "sequential"))
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)

    def build(self, input_shape):
        height, width, channels = checks.fixed_grid(self, input_shape)
        self.grid = (height, width)
        self.width_projection = built_dense(self, "width_projection", width, width)
        self.height_projection = built_dense(self, "height_projection", height, height)
        branches = self.include_identity + (2 if self.mode == "parallel" else 1)
        if self.fusion == "concat":
            self.fuse = built_dense(self, "fuse", branches * channels, channels, use_bias=False)
        elif self.fusion == "weighted_sum":
            self.branch_weights = self.add_weight(
                shape=(branches,), initializer="ones", name="branch_weights"
            )

    def call(self, inputs, training=None):
        checks.same_grid(self, inputs.shape)
        trains = training and not self.width_projection.quantization_mode
        by_xla = trains and keras.backend.backend() == "jax"
        along = _along_without_transposes if by_xla else _along
        along_width = along(2, self.width_projection, inputs)
        if self.mode == "parallel":
            branches = [along_width, along(1, self.height_projection, inputs)]
        else:
            branches = [along(1, self.height_projection, along_width)]
        branches = [inputs, *branches] if self.include_identity else branches
        if self.fusion == "concat":
            fuse = _fuse_without_concatenation if trains else _fuse
            return fuse(self.fuse, branches)
        if self.fusion == "weighted_sum":
            weights = ops.cast(self.branch_weights, self.compute_dtype)
            branches = [weights[i] * branch for i, branch in enumerate(branches)]
        return sum(branches[1:], start=branches[0])

    def compute_output_shape(self, input_shape):
        checks.fixed_grid(self, input_shape)
        return tuple(input_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "fusion": self.fusion,
            "include_identity": self.include_identity,
            "mode": self.mode,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
        }


# Training has forms of its own: XLA would write transposed and concatenated maps to a TPU's memory.
_EQUATIONS = {1: "bhwc,hk->bkwc", 2: "bhwc,wk->bhkc"}


def _along_without_transposes(axis, dense, x):
    """Used on JAX only: on a CPU, TensorFlow's steps take 15 % longer by it."""
    bias = ops.reshape(dense.bias, (-1, 1, 1) if axis == 1 else (-1, 1))
    return ops.einsum(_EQUATIONS[axis], x, dense.kernel) + bias


def _fuse_without_concatenation(dense, branches):
    kernels = ops.split(dense.kernel, len(branches), axis=0)
    products = [
        ops.matmul(branch, ops.cast(kernel, branch.dtype))
        for branch, kernel in zip(branches, kernels, strict=True)
    ]
    return sum(products[1:], start=products[0])


def _along(axis, dense, x):
    return ops.swapaxes(dense(ops.swapaxes(x, axis, 3)), axis, 3)


def _fuse(dense, branches):
    return dense(ops.concatenate(branches, axis=-1))
