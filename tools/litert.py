"""Runs TFLite files by LiteRT, the runtime that phones have."""

import numpy as np
from ai_edge_litert.interpreter import Interpreter


class LiteRTModel:
    """A TFLite file with one input and one output, ready to run on the CPU.

    Args:
        path: Of the `.tflite` file.
        num_threads: Of the CPU; `None` lets LiteRT choose.
    """

    def __init__(self, path, num_threads=None):
        self._interpreter = Interpreter(str(path), num_threads=num_threads)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]
        self.batch_size = int(self._input["shape"][0])

    def predict(self, images):
        """Returns the outputs for `images`, whose number must be a multiple of the batch size."""
        if len(images) % self.batch_size:
            raise ValueError(
                f"`images` must hold a multiple of the file's batch size, {self.batch_size}. "
                f"Received: {len(images)} images"
            )
        batches = images.reshape(-1, self.batch_size, *images.shape[1:])
        return np.concatenate([self._run(batch) for batch in batches])

    def _run(self, batch):
        self._interpreter.set_tensor(self._input["index"], batch)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output["index"])

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
