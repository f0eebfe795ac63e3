"""From an image file to its pixels as they are shown, by Pillow: formats TensorFlow does not read.

What is transparent is put on white. Numbers of more than 8 bits become pixels by a `value_range`,
whose ends are 0 and 255; without one, it is 0 to 65,535 for 16 bits and 0 to 1 for floating point.
"""

import contextlib
import dataclasses
import io
import threading

import numpy as np

from keras_mixers.preprocessing import image_formats

MAX_PIXELS = 400_000_000
"""Most pixels of an image that is decoded, by default: 20,000 x 20,000."""
LARGE = 16_000_000
"""Images of more pixels are decoded within a budget, and not as many at once as there are CPUs."""

_opening = threading.Lock()
_DEEP = ("I", "F")


def shown_shape(data, channels=3, max_pixels=MAX_PIXELS):
    """Returns `(height, width, channels)` of an image file as it is shown, as int32.

    Raises:
        ValueError: It is no image, or has more than `max_pixels`.
    """
    if image_formats.of(data) == "NumPy":
        height, width = _npy_header(data)[:2]
    else:
        with _open(data, channels) as image:
            if image is None:
                height, width = _by_tifffile(data, channels, shape_only=True)
            else:
                width, height = image.size
                if _orientation(image) >= 5:
                    height, width = width, height
    if height * width > max_pixels:
        raise ValueError(
            f"it has {width:,} x {height:,} pixels, more than the limit of "
            f"{max_pixels / 1e6:,.0f} million; raise that by --max-megapixels"
        )
    return np.array((height, width, channels), "int32")


def read(data, channels, value_range=None, window=None, size=None, interpolation="bilinear"):
    """Returns the pixels of an image file as it is shown, uint8 of `(height, width, channels)`.

    Args:
        data: The file, as bytes.
        channels: 1 for gray, 3 for colors, or as many as the file has.
        value_range: `(low, high)` of files of more than 8 bits, or None.
        window: Top, left, height and width of the part to read; None for all of it.
        size: `(height, width)` to which a large image is resized, to save memory; or None.
        interpolation: By which it is.

    Raises:
        ValueError: It cannot be read, or has another number of channels.
    """
    if image_formats.of(data) == "NumPy":
        pixels = as_pixels(_npy(data), channels, value_range)
        return _cut(pixels, window)
    with _open(data, channels) as image:
        if image is None:
            return _cut(as_pixels(_by_tifffile(data, channels), channels, value_range), window)
        with _budget.of(image.width * image.height):
            return _of_pil(image, channels, value_range, window, size, interpolation)


def of_pil(image, channels, value_range=None):
    """Returns the pixels of an image of Pillow as it is shown, `(height, width, channels)`."""
    return _of_pil(image, channels, value_range)


def _of_pil(image, channels, value_range, window=None, size=None, interpolation="bilinear"):
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode in _DEEP or image.mode.startswith("I;16"):
        return _cut(as_pixels(np.asarray(image), channels, value_range), window)
    if channels in (1, 3):
        image = _on_white(image).convert("L" if channels == 1 else "RGB")
    if size is not None and image.width * image.height > LARGE:
        top, left, rows, columns = (0, 0, *image.size[::-1]) if window is None else map(int, window)
        how = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
        box = (left, top, left + columns, top + rows)
        image, window = image.resize(size[::-1], how[interpolation], box), None
    elif window is not None:
        top, left, rows, columns = map(int, window)
        image, window = image.crop((left, top, left + columns, top + rows)), None
    pixels = np.asarray(image)
    if pixels.dtype == bool:
        pixels = pixels * np.uint8(255)
    return as_pixels(pixels, channels, None)


def _on_white(image):
    from PIL import Image

    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def as_pixels(array, channels, value_range):
    """Returns an array of a file's numbers as uint8 pixels, `(height, width, channels)`."""
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3:
        raise ValueError(f"it has the shape {array.shape}, not (height, width, channels)")
    there = array.shape[-1]
    if there == 1 and channels == 3:
        array = np.repeat(array, 3, axis=-1)
    elif there != channels and (there, channels) != (3, 1):
        raise ValueError(f"it has {there} channels, and the model takes {channels}")
    if array.dtype != np.uint8:
        array = _scaled(array, value_range)
    if (there, channels) == (3, 1):  # As Pillow and TensorFlow do.
        array = (array @ np.array((0.299, 0.587, 0.114)))[..., None] + 0.5
    return array.astype("uint8")


def _scaled(array, value_range):
    if array.dtype.kind not in "buif":
        raise ValueError(f"it holds {array.dtype}, not real numbers")
    low, high = value_range or _natural_range(array)
    scaled = (array.astype("float64") - low) * (255 / (high - low)) + 0.5
    return np.nan_to_num(np.clip(scaled, 0, 255.5)).astype("uint8")


def _natural_range(array):
    if array.dtype == bool:
        return 0, 1
    if array.dtype.kind == "u":
        return 0, np.iinfo(array.dtype).max
    low, high = float(np.nanmin(array)), float(np.nanmax(array))
    if array.dtype.kind == "f" and low >= 0 and high <= 1:
        return 0, 1
    if low >= 0 and high <= 255:
        return 0, 255
    raise ValueError(
        f"it holds numbers from {low:g} to {high:g}: say which of them become 0 and 255, by "
        "value_range (--value-range LOW HIGH)"
    )


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is to be known of an image file."""

    height: int
    """Of the image as it is shown."""
    width: int
    is_transparent: bool
    """Whether it may be: it has an alpha channel, or a color that stands for none."""
    has_frames: bool
    """Whether there are several, of which the first is seen."""
    values: tuple[float, float] | None
    """Smallest and largest number of a file of more than 8 bits; None of any other."""


def facts(data, channels=3, max_pixels=MAX_PIXELS):
    """Returns the `Facts` of an image file, which is decoded only where it has more than 8 bits.

    Raises:
        ValueError: It cannot be read.
    """
    height, width, _ = map(int, shown_shape(data, channels, max_pixels))
    values, is_transparent, has_frames = None, False, False
    if image_formats.of(data) != "NumPy":
        with _open(data, channels) as image:
            if image is not None:
                is_transparent = image.has_transparency_data and channels in (1, 3)
                has_frames = getattr(image, "n_frames", 1) > 1
    array = _deep_values(data, channels)
    if array is not None:
        if array.ndim == 3 and array.shape[-1] in (2, 4) and channels in (1, 3):
            array = array[..., :-1]  # The last is opacity.
        values = float(np.nanmin(array)), float(np.nanmax(array))
    return Facts(height, width, is_transparent, has_frames, values)


def _deep_values(data, channels):
    """Returns an array of the numbers of a file of more than 8 bits; None of any other file."""
    kind = image_formats.of(data)
    if kind == "NumPy":
        array = _npy(data)
        return None if array.dtype in (np.uint8, bool) else array
    if kind not in ("PNG", "TIFF") or (kind == "PNG" and data[24] != 16):
        return None
    with _open(data, channels) as image:
        if image is None:
            array = _by_tifffile(data, channels)
            return None if array.dtype == np.uint8 else array
        if image.mode in _DEEP or image.mode.startswith("I;16"):
            return np.asarray(image)
    if kind != "PNG":
        return None
    import tensorflow as tf  # Pillow keeps 8 of 16 bits of colors.

    return tf.io.decode_png(data, dtype=tf.uint16).numpy()


@contextlib.contextmanager
def _open(data, channels):
    """Context manager: gives an image of Pillow; None where tifffile must read it."""
    from PIL import Image

    kind = image_formats.of(data)
    if kind is None:
        raise ValueError("it is no image, by its first bytes")
    if package := image_formats.lacks(kind):
        raise ValueError(f'reading {kind} needs {package}: pip install "keras_mixers[images]"')
    if kind == "HEIC":
        import pillow_heif

        pillow_heif.register_heif_opener()
    with _opening:  # Pillow's own limit is lower, and one for all.
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(io.BytesIO(data))
        except Exception as error:  # Of many kinds, where a file is damaged.
            if kind != "TIFF":
                raise ValueError(f"it cannot be read: {error}") from None
            image = None
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    if image is None:
        yield None
        return
    with image:
        try:
            is_deep_color = kind == "TIFF" and max(image.tag_v2.get(258, (8,))) > 8
            has_bands = kind == "TIFF" and channels not in (1, 3)
            is_deep_color = is_deep_color and len(image.getbands()) > 1
            yield None if is_deep_color or has_bands else image
        except (OSError, SyntaxError, EOFError) as error:
            raise ValueError(f"it cannot be read: {error}") from None


def _orientation(image):
    return image.getexif().get(0x0112, 1)


def _by_tifffile(data, channels, shape_only=False):
    try:
        import tifffile
    except ModuleNotFoundError:
        raise ValueError(
            'reading such a TIFF needs tifffile: pip install "keras_mixers[images]"'
        ) from None
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages[0]
            if shape_only:
                return page.imagelength, page.imagewidth
            if channels not in (1, 3) and page.samplesperpixel == 1 and len(file.pages) == channels:
                return np.stack([each.asarray() for each in file.pages], -1)  # A band a page.
            array = page.asarray()
            # One plane for each channel, or all of them at each pixel.
            planar = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and array.ndim == 3
            return np.moveaxis(array, 0, -1) if planar else array
    except Exception as error:  # Of many kinds, where a file is damaged.
        raise ValueError(f"it cannot be read: {error}") from None


def _npy_header(data):
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    reader = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    shape = reader(file)[0] if reader else ()
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(f"it has the shape {shape}, not (height, width, channels)")
    return shape


def _npy(data):
    _npy_header(data)
    return np.load(io.BytesIO(data), allow_pickle=False)


def _cut(pixels, window):
    if window is None:
        return pixels
    top, left, rows, columns = map(int, window)
    return np.ascontiguousarray(pixels[top : top + rows, left : left + columns])


class _Budget:
    """Lets threads decode as many pixels at once as fit, and one image that is larger."""

    def __init__(self, pixels):
        self._free, self._all = pixels, pixels
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def of(self, pixels):
        pixels = min(pixels, self._all)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= pixels)
            self._free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()


_budget = _Budget(MAX_PIXELS)
