"""From the bytes of a picture file to a picture of the size that the model sees."""

import tensorflow as tf


def decode(data):
    return tf.io.decode_image(data, channels=3, expand_animations=False)


def _crop(data, choose):
    """Decodes the window `choose(shape)` of a picture; of a JPEG, nothing but that window."""

    def of_jpeg():
        window = choose(tf.io.extract_jpeg_shape(data))
        return tf.io.decode_and_crop_jpeg(data, window, channels=3)

    def of_other():
        image = decode(data)
        top, left, height, width = tf.unstack(choose(tf.shape(image)))
        return image[top : top + height, left : left + width]

    image = tf.cond(tf.io.is_jpeg(data), of_jpeg, of_other)
    image.set_shape((None, None, 3))
    return image


def random_crop(data, seed, config):
    """An inception crop: a random part of the area, of an aspect ratio from 3:4 to 4:3."""

    def choose(shape):
        begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
            shape,
            tf.zeros((1, 0, 4)),
            seed,
            min_object_covered=0,
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(config.crop_min_area, 1.0),
            use_image_if_no_bounding_boxes=True,
        )
        return tf.concat([begin[:2], size[:2]], axis=0)

    return _resize(_crop(data, choose), config, antialias=config.interpolation == "bicubic")


def central_crop(data, config):
    """The central square of `eval_crop` of the shorter side."""

    def choose(shape):
        height, width = shape[0], shape[1]
        side = tf.cast(tf.minimum(height, width), tf.float32) * config.eval_crop
        side = tf.maximum(tf.cast(tf.round(side), tf.int32), 1)
        return tf.stack([(height - side) // 2, (width - side) // 2, side, side])

    return _resize(_crop(data, choose), config, antialias=True)


def _resize(image, config, antialias):
    size = (config.image_size, config.image_size)
    image = tf.image.resize(image, size, config.interpolation, antialias=antialias)
    return rounded(tf.clip_by_value(image, 0, 255))


def rounded(images):
    """uint8 of floats from 0 to 255."""
    return tf.cast(images + 0.5, tf.uint8)
