"""MixUp and CutMix of neighboring images.

What is drawn is drawn for one pair of images, so that the result does not depend on how a batch
is divided over devices. MixUp, https://arxiv.org/abs/1710.09412; CutMix,
https://arxiv.org/abs/1905.04899.
"""

import tensorflow as tf


def draw_mixing(
    seed,
    size,
    mixup_alpha,
    cutmix_alpha,
    switch=0.5,
    own_share_at_least_half=False,
):
    """Draws how the two images of one pair are mixed with each other.

    Args:
        seed: Integer tensor of shape `(2,)`; the same seed gives the same result.
        size: `(height, width)` of the images, integers.
        mixup_alpha: MixUp's weight is from Beta(alpha, alpha); 0 is no MixUp. MLP-Mixer's paper
            uses 0.5 on ImageNet, DeiT 0.8.
        cutmix_alpha: The same for the share of CutMix' box; 0 is no CutMix. DeiT uses 1.
        switch: Probability of CutMix rather than MixUp, where both alphas are above 0.
        own_share_at_least_half: Whether MixUp uses `max(w, 1 - w)` for its weight `w`, as the
            code of MLP-Mixer's authors does.

    Returns:
        `(weight, box)`: the share of an image's own label, a float32 scalar, and the region
        `(top, left, bottom, right)` that is the other image's, an int32 tensor of shape `(4,)`,
        zeros for MixUp and where nothing is mixed. Both are meant for both images of the pair.
    """
    choice_seed, mixup_seed, cutmix_seed, center_seed = tf.unstack(
        tf.random.split(tf.cast(seed, tf.int64), 4)
    )
    weight, box = tf.constant(1.0), tf.zeros((4,), tf.int32)
    if mixup_alpha > 0:
        weight = _beta(mixup_seed, mixup_alpha)
        if own_share_at_least_half:
            weight = tf.maximum(weight, 1 - weight)
    if cutmix_alpha > 0:
        region = _region(center_seed, size, 1 - _beta(cutmix_seed, cutmix_alpha))
        top, left, bottom, right = tf.unstack(region)
        area = tf.cast((bottom - top) * (right - left), tf.float32)
        cut = mixup_alpha == 0 or tf.random.stateless_uniform((), choice_seed) < switch
        # Of the region that is left of the box inside the image, not of the one that was drawn.
        weight = tf.where(cut, 1 - area / (size[0] * size[1]), weight)
        box = tf.where(cut, region, box)
    return weight, box


def mix(images, labels, weights, boxes):
    """Mixes each image of a batch with its neighbor: 0 with 1, 2 with 3, and so on.

    Args:
        images: float32 tensor of static shape `(batch, height, width, channels)`.
        labels: float32 tensor of shape `(batch, classes)`.
        weights: float32 tensor of shape `(batch,)`, from `draw_mixing`: each pair's, twice.
        boxes: int32 tensor of shape `(batch, 4)`, likewise.

    Returns:
        `(images, labels)` of the same shapes. Where a box is not empty, what is inside is the
        neighbor's, and everything else the image's own; where it is empty, each pixel is
        `weight * own + (1 - weight) * neighbor`. Labels are always the latter.

    Raises:
        ValueError: The batch size is not even, or not known.
    """
    batch, height, width, channels = images.shape
    if batch is None or batch % 2:
        raise ValueError(
            f"The batch size must be even and static. Received: images.shape={images.shape}"
        )
    top, left, bottom, right = (edge[:, None] for edge in tf.unstack(boxes, axis=1))
    row, column = tf.range(height), tf.repeat(tf.range(width), channels)
    in_rows = tf.cast((row >= top) & (row < bottom), tf.float32)
    in_columns = tf.cast((column >= left) & (column < right), tf.float32)
    # The neighbor's share of each value is 1 or 0 in or out of a box, or the same everywhere. As
    # a product of matrices, because Eigen takes several times as long to broadcast two axes.
    everywhere = tf.where((bottom > top) & (right > left), 0.0, 1 - weights[:, None])
    left_factor = tf.stack([in_rows, tf.tile(everywhere, (1, height))], axis=2)
    right_factor = tf.stack([in_columns, tf.ones_like(in_columns)], axis=1)
    rows = tf.reshape(images, (batch, height, width * channels))
    mixed = _blend(rows, tf.matmul(left_factor, right_factor))
    return tf.reshape(mixed, images.shape), _blend(labels, 1 - weights[:, None])


def _blend(values, share):
    """Gives each row of the batch a share of its neighbor, exactly so for shares of 0 and 1."""
    pairs = tf.reshape(values, (values.shape[0] // 2, 2, *values.shape[1:]))
    neighbors = tf.reshape(tf.reverse(pairs, axis=[1]), values.shape)
    return (1 - share) * values + share * neighbors


def _beta(seed, alpha):
    """Draws from Beta(alpha, alpha), float32 scalar."""
    first, second = tf.unstack(tf.random.stateless_gamma((2,), seed, alpha))
    # Of small alphas, both may be 0 in float32.
    return tf.math.divide_no_nan(first, first + second)


def _region(seed, size, share):
    """Draws a box of a share of the area, its center anywhere, cut off at the image's edges."""
    edges = []
    for side, place in zip(size, tf.unstack(tf.random.stateless_uniform((2,), seed)), strict=True):
        half = tf.cast(side * tf.sqrt(share), tf.int32) // 2
        center = tf.cast(place * side, tf.int32)
        edges.append((tf.maximum(center - half, 0), tf.minimum(center + half, side)))
    (top, bottom), (left, right) = edges
    return tf.stack([top, left, bottom, right])
