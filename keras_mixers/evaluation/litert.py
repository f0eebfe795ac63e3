"""Runs TFLite files by LiteRT, the runtime that phones have."""

import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter


class LiteRTModel:
    """A TFLite file with one input and one output, ready to run on the CPU.

    Args:
        path: Of the `.tflite` file.
        num_threads: Of the CPU; `None` lets LiteRT choose.

    Raises:
        ValueError: It has several inputs or outputs, or an operator that LiteRT does not know.
    """

    includes_preprocessing = False
    """Whether it takes pixels of 0 to 255; the caller says so, who knows where the file is from."""

    def __init__(self, path, num_threads=None):
        try:
            self._interpreter = Interpreter(str(path), num_threads=num_threads)
            self._interpreter.allocate_tensors()
        except RuntimeError as error:
            raise ValueError(f"LiteRT cannot run {path}: {error}") from None
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if (len(inputs), len(outputs)) != (1, 1):
            raise ValueError(
                f"{path} must have one input and one output. "
                f"It has {len(inputs)} and {len(outputs)}"
            )
        (self._input,), (self._output,) = inputs, outputs
        self.input_shape = tuple(map(int, self._input["shape"]))
        self.output_shape = tuple(map(int, self._output["shape"]))
        self.batch_size = self.input_shape[0]

    @property
    def takes_pixels(self):
        """Whether the input is bytes, pixels from 0 to 255, and not real numbers."""
        return self._input["dtype"] == np.uint8

    def predict(self, images):
        """Returns the outputs for `images`, whose number must be a multiple of the batch size.

        Both are real numbers (or pixels), whatever the file works with.
        """
        if len(images) % self.batch_size:
            raise ValueError(
                f"`images` must hold a multiple of the file's batch size, {self.batch_size}. "
                f"Received: {len(images)} images"
            )
        batches = images.reshape(-1, self.batch_size, *images.shape[1:])
        return np.concatenate([self._run(batch) for batch in batches])

    def seconds(self, runs, warm_up=3):
        """Returns how long each of `runs` took, on an image of zeros that is in place."""
        zeros = np.zeros(self.input_shape, self._input["dtype"])
        times = []
        for _ in range(warm_up + runs):
            self._interpreter.set_tensor(self._input["index"], zeros)
            start = time.perf_counter()
            self._interpreter.invoke()
            times.append(time.perf_counter() - start)
        return times[warm_up:]

    def _run(self, batch):
        self._interpreter.set_tensor(self._input["index"], _as_integers(batch, self._input))
        self._interpreter.invoke()
        return _as_real(self._interpreter.get_tensor(self._output["index"]), self._output)

    @property
    def num_partitions(self):
        """Into how many pieces the delegate (XNNPACK) took the graph; 1 is best."""
        return len(self._delegates())

    @property
    def fully_delegated(self):
        """Whether one delegate node runs the whole graph, from its inputs to its outputs."""
        delegates = self._delegates()
        if len(delegates) != 1 or self._output["index"] not in delegates[0]["outputs"]:
            return False
        others = [op for op in self._ops() if op["op_name"] != "DELEGATE"]
        computed = {tensor for op in others for tensor in op["outputs"]}
        return computed.isdisjoint(delegates[0]["inputs"])

    def _delegates(self):
        return [op for op in self._ops() if op["op_name"] == "DELEGATE"]

    def _ops(self):
        # No public function lists the nodes after delegation.
        return self._interpreter._get_ops_details()


def _as_integers(values, details):
    kind = details["dtype"]
    if not np.issubdtype(kind, np.integer):
        return values.astype(kind, copy=False)
    scale, zero_point = details["quantization"]
    if scale:
        values = np.round(values / scale) + zero_point
    return np.clip(values, np.iinfo(kind).min, np.iinfo(kind).max).astype(kind)


def _as_real(values, details):
    scale, zero_point = details["quantization"]
    if not scale or not np.issubdtype(values.dtype, np.integer):
        return values
    return ((values.astype("float64") - zero_point) * scale).astype("float32")
