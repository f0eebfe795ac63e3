"""Losses of a batch, and how often a model is right about it."""

from keras import ops


def losses(labels, logits, kind):
    """Returns the cross-entropy of each image, in float32.

    Args:
        labels: Shares of the classes, `(batch, classes)`.
        logits: `(batch, classes)`.
        kind: `"softmax"`, or `"sigmoid"`: the sum over classes of each one's own.
    """
    logits = ops.cast(logits, "float32")
    if kind == "sigmoid":
        return ops.sum(ops.binary_crossentropy(labels, logits, from_logits=True), axis=-1)
    return ops.categorical_crossentropy(labels, logits, from_logits=True)


def correct(labels, logits, among=1):
    """Returns 1.0 for each image whose class has one of the `among` largest logits, else 0.0."""
    target = ops.argmax(labels, axis=-1)
    mine = ops.take_along_axis(logits, target[:, None], axis=-1)
    # Ties count against the class, and so does what is not a number: neither constant logits nor
    # broken ones are right about everything.
    others = ops.sum(ops.cast(ops.logical_not(logits < mine), "int32"), axis=-1) - 1
    return ops.cast(others < among, "float32")
