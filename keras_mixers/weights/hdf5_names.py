"""Where Keras' own .weights.h5 has the weights of a functional model of these layers."""

import collections
import re


def in_hdf5(model):
    """Returns `{path of a weight: its name in the file}`, such as `layers/dense/vars/0`.

    Keras counts the layers of a class, in the model's order, and then the weights of each of their
    parts.
    """
    layers, weights, names = collections.Counter(), collections.Counter(), {}
    for layer in model.layers:
        kind = re.sub(
            r"(?<!^)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", type(layer).__name__
        ).lower()
        number = f"_{layers[kind]}" if layers[kind] else ""
        layers[kind] += 1
        for weight in layer.weights:
            parts = weight.path.removeprefix(f"{layer.name}/").split("/")[:-1]
            place = "/".join(["layers", f"{kind}{number}", *parts, "vars"])
            names[weight.path] = f"{place}/{weights[place]}"
            weights[place] += 1
    return names
