"""How images are prepared for a model: one object for training, evaluation, export and a page."""

import dataclasses
import math
import os
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Self

import numpy as np

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_LARGEST_STD = 10
INTERPOLATIONS = ("bilinear", "bicubic")
CROP_MODES = ("center", "squash", "pad")


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What a model's images go through: central crop, resizing, scaling.

    Two of them are equal where all their numbers are. A model carries its own as
    `model.preprocessing`.

    Args:
        image_size: Side of the square that is left, in pixels, or `(height, width)`. `None` leaves
            the size of the crop.
        crop: Side of the central crop, as a share of the image's shorter side; the crop has the
            aspect ratio of `image_size`. Defaults to 0.875, which is 224 of 256. Only of the mode
            `"center"`.
        interpolation: `"bilinear"` or `"bicubic"`, of resizing; antialiased.
        mean: What is taken from pixels scaled to [0, 1]: a number, or one per channel. Defaults to
            0.5, which with `std` 0.5 scales to [-1, 1].
        std: By what the difference is divided: a number, or one per channel.
        crop_mode: How an image of another aspect ratio becomes one of `image_size`: `"center"`
            (default) takes a central crop; `"squash"` resizes all of it, which distorts it; `"pad"`
            resizes all of it and puts a border of `mean` around it.
        value_range: `(low, high)`, the numbers in files of more than 8 bits a channel (16-bit PNG
            and TIFF, floating point) that become the pixels 0 and 255; others are clipped. Defaults
            to `None`: 0 to 65,535 for 16 bits, 0 to 1 for floating point.

    Raises:
        ValueError: An argument is out of range.

    Example:

    >>> preprocessing = Preprocessing(224, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    >>> image = preprocessing.pixels("cat.jpg")  # uint8, (224, 224, 3): for a model that scales
    >>> image = preprocessing("cat.jpg")  # float32: for include_preprocessing=False
    >>> dataset = files.map(tf.io.read_file).map(preprocessing.pixels)
    """

    image_size: int | tuple[int, int] | None = 224
    crop: float = 0.875
    interpolation: str = "bilinear"
    mean: float | Sequence[float] = (0.5,)
    std: float | Sequence[float] = (0.5,)
    crop_mode: str = "center"
    value_range: Sequence[float] | None = None

    def __post_init__(self):
        for name in ("mean", "std"):
            object.__setattr__(self, name, _numbers(name, getattr(self, name)))
        object.__setattr__(self, "image_size", _size(self.image_size))
        if len(self.mean) != len(self.std):
            raise ValueError(
                "`mean` and `std` must have as many numbers, one per channel. "
                f"Received: mean={self.mean}, std={self.std}"
            )
        if min(self.std) <= 0:
            raise ValueError(f"`std` must be greater than 0. Received: std={self.std}")
        # An average of pixels scaled to [0, 1] is not above 1. Their std is not either, but a
        # std is a range as well: those of pixels of 0 to 255 are far above 10.
        if max(self.mean) > 1 or max(self.std) > _LARGEST_STD:
            raise ValueError(
                f"`mean` must be at most 1 and `std` at most {_LARGEST_STD}, as of pixels scaled "
                "to [0, 1]: divide those of pixels of 0 to 255 by 255. "
                f"Received: mean={self.mean}, std={self.std}"
            )
        is_number = isinstance(self.crop, Real) and not isinstance(self.crop, bool)
        if not is_number or not 0 < self.crop <= 1:
            raise ValueError(
                f"`crop` must be greater than 0 and at most 1. Received: crop={self.crop!r}"
            )
        object.__setattr__(self, "crop", float(self.crop))
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"`interpolation` must be one of {', '.join(INTERPOLATIONS)}. "
                f"Received: interpolation={self.interpolation!r}"
            )
        if self.crop_mode not in CROP_MODES:
            raise ValueError(
                f"`crop_mode` must be one of {', '.join(CROP_MODES)}. "
                f"Received: crop_mode={self.crop_mode!r}"
            )
        if self.value_range is not None:
            object.__setattr__(self, "value_range", _range(self.value_range))

    def __str__(self):
        height, width = self.size or ("any", "any")
        how = {"center": f"central crop {self.crop:.4g}", "squash": "squashed", "pad": "padded"}
        deep = f", values {_shown(self.value_range)}" if self.value_range else ""
        return (
            f"{height} x {width}, {how[self.crop_mode]}, {self.interpolation}, "
            f"mean {_shown(self.mean)}, std {_shown(self.std)}{deep}"
        )

    @property
    def size(self) -> tuple[int, int] | None:
        """`(height, width)` in pixels, or None where any size is left as it is."""
        if self.image_size is None or isinstance(self.image_size, tuple):
            return self.image_size
        return (self.image_size, self.image_size)

    def __call__(self, image: Any, channels: int = 3) -> Any:
        """Returns float32 images that are scaled, for a model with `include_preprocessing=False`.

        Models scale pixels themselves by default: they take what `pixels` or `model.preprocess`
        returns.

        Args:
            image: The path of an image file; its bytes, as `bytes` or a string tensor, also of
                shape `(batch,)`; an image of Pillow; pixels from 0 to 255, an array or tensor of
                shape `(height, width, channels)` or `(batch, height, width, channels)`; or a list
                of single ones of these, which becomes a batch.
            channels: Of files and images of Pillow: 3, 1 for gray, or as many as they have.

        Raises:
            ValueError: It is none of these, or has other numbers than 0 to 255.
        """
        return self.scale(self.pixels(image, channels))

    def pixels(self, image: Any, channels: int = 3) -> Any:
        """Returns uint8 images, cropped and resized but not scaled; arguments as of a call."""
        from keras_mixers.preprocessing import cropping, decoding, given

        if isinstance(image, list | tuple):
            return given.stacked([self.pixels(one, channels) for one in image])
        if isinstance(image, str | os.PathLike):
            with open(os.path.expanduser(image), "rb") as file:
                image = file.read()
        if isinstance(image, bytes) or cropping.is_encoded(image):
            return cropping.decode_central(image, self, channels)
        if given.is_pil(image):
            image = decoding.of_pil(image, channels, self.value_range)
        given.check_pixels(image)
        return cropping.central(image, self)

    def scale(self, images: Any) -> Any:
        """Returns `(images / 255 - mean) / std` in float32, `images` being left as they are.

        Args:
            images: Array or tensor of shape `(..., channels)`, of pixels from 0 to 255, of any
                numeric type.

        Raises:
            ValueError: There is a mean for another number of channels.
        """
        mean, std = self._per_channel(images.shape[-1])
        return (_as_float32(images) / 255 - mean) / std

    def factors(self, channels: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns `(scale, offset)` per channel, float64: `scale(x)` is `x * scale + offset`."""
        mean, std = (np.asarray(n, "float64") for n in (self.mean, self.std))
        self._per_channel(channels)
        ones = np.ones(channels)
        return ones / (255 * std), -ones * mean / std

    def scales_like(self, other: "Preprocessing") -> bool:
        """Returns whether both scale images alike; one number stands for any number of channels."""
        channels = max(len(self.mean), len(other.mean))
        if {len(self.mean), len(other.mean)} - {1, channels}:
            return False
        return np.allclose(self.factors(channels), other.factors(channels), rtol=1e-6)

    def prepares_like(self, other: "Preprocessing") -> bool:
        """Returns whether both crop, resize and scale alike, whatever size they resize to."""
        same = all(
            getattr(self, name) == getattr(other, name)
            for name in ("crop", "interpolation", "crop_mode", "value_range")
        )
        return same and self.scales_like(other)

    def for_channels(self, channels: int) -> Self:
        """Returns this preprocessing for images of another number of channels.

        Where mean and std differ by color, a multiple of as many channels gets them in turn, and
        any other number the average of each.
        """
        if len(self.mean) in (1, channels):
            return self
        times, rest = divmod(channels, len(self.mean))
        if not rest:
            return dataclasses.replace(self, mean=self.mean * times, std=self.std * times)
        mean, std = (float(np.mean(n)) for n in (self.mean, self.std))
        return dataclasses.replace(self, mean=(mean,), std=(std,))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments as a dict that JSON can hold."""
        config = dataclasses.asdict(self)
        if self.crop_mode == "center":  # As it was before there were others.
            del config["crop_mode"]
        if self.value_range is None:
            del config["value_range"]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in config.items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Returns what `get_config` was asked of, also after JSON made lists of its tuples."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in config.items()})

    def _per_channel(self, channels):
        if len(self.mean) not in (1, channels):
            raise ValueError(
                f"`images` must have {len(self.mean)} channels, as `mean` and `std` have. "
                f"Received: {channels} channels"
            )
        return np.array(self.mean, "float32"), np.array(self.std, "float32")


def _numbers(name, values):
    try:
        numbers = tuple(float(v) for v in np.ravel(values).tolist())
    except (TypeError, ValueError):
        numbers = ()
    if not numbers or not all(map(math.isfinite, numbers)):
        raise ValueError(
            f"`{name}` must be a number, or one per channel. Received: {name}={values!r}"
        )
    return numbers


def _size(image_size):
    sides = image_size if isinstance(image_size, tuple | list) else (image_size,)
    if image_size is None:
        return None
    whole = all(
        isinstance(side, Integral) and not isinstance(side, bool) and side > 0 for side in sides
    )
    if whole and len(sides) in (1, 2):
        sides = tuple(map(int, sides))
        return sides[0] if len(set(sides)) == 1 else sides
    raise ValueError(
        "`image_size` must be a whole number of pixels, (height, width) or None. "
        f"Received: image_size={image_size!r}"
    )


def _range(values):
    numbers = _numbers("value_range", values)
    if len(numbers) != 2 or not numbers[0] < numbers[1]:
        raise ValueError(
            "`value_range` must be (low, high), low less than high. "
            f"Received: value_range={values!r}"
        )
    return numbers


def _shown(numbers):
    return " ".join(f"{number:g}" for number in numbers)


def _as_float32(images):
    if isinstance(images, np.ndarray):
        return images.astype("float32")
    import keras

    if keras.backend.backend() != "tensorflow" and type(images).__module__.startswith("tensorflow"):
        import tensorflow as tf  # Within a tf.data pipeline.

        return tf.cast(images, tf.float32)
    return keras.ops.cast(images, "float32")


# What published weights expect: Google's MLP-Mixers (vit_jax, big_vision), MIIL's, and those that
# were trained by timm's or DeiT's recipes.
TO_MINUS_ONE_ONE = Preprocessing(mean=0.5, std=0.5)
TO_ZERO_ONE = Preprocessing(mean=0.0, std=1.0)
BY_IMAGENET = Preprocessing(interpolation="bicubic", mean=IMAGENET_MEAN, std=IMAGENET_STD)
# Pixels as they are, for models that scale them in a way of their own.
UNSCALED = Preprocessing(mean=0.0, std=1 / 255)
