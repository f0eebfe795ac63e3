"""Image files of every format become the pixels that a person sees."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_mixers.preprocessing import Preprocessing, cropping, decoding, image_formats
from tests.helpers.modules import hide, without_tensorflow

WHOLE = Preprocessing(None, crop_mode="squash")
SIZE = (70, 100)


def smooth_image(rng):
    """Smooth: what is lost in compression is little."""
    coarse = np.clip(rng.normal(128, 50, (6, 8, 3)), 0, 255).astype("uint8")
    return Image.fromarray(coarse).resize(SIZE[::-1], Image.Resampling.BICUBIC)


def encoded(image, kind, **options):
    memory = io.BytesIO()
    image.save(memory, kind, **options)
    return memory.getvalue()


def with_alpha(image):
    alpha = np.full(SIZE, 255, "uint8")
    alpha[:20, :30], alpha[50:] = 0, 128
    pixels = np.dstack([np.asarray(image), alpha])
    return Image.fromarray(pixels)


def on_white(image):
    """What a viewer shows, from the definition of opacity."""
    pixels = np.asarray(image.convert("RGBA")).astype("float64")
    alpha = pixels[..., 3:] / 255
    return pixels[..., :3] * alpha + 255 * (1 - alpha)


def files(rng):
    """By name: the bytes, the pixels shown, and how much these may differ."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    image = smooth_image(rng)
    clear, gray, indexed = with_alpha(image), image.convert("L"), image.convert("P")
    corner = tuple(map(int, np.asarray(image)[0, 0]))
    exact = {
        "PNG": (image, "PNG", {}),
        "PNG, gray": (gray, "PNG", {}),
        "PNG, 1 bit": (gray.convert("1"), "PNG", {}),
        "PNG, palette": (indexed, "PNG", {}),
        "PNG, transparent": (clear, "PNG", {}),
        "PNG, gray and transparent": (clear.convert("LA"), "PNG", {}),
        "PNG, palette with a transparent color": (indexed, "PNG", {"transparency": 3}),
        "PNG, transparent color": (image, "PNG", {"transparency": corner}),
        "PNG, transparent gray": (gray, "PNG", {"transparency": int(np.asarray(gray)[0, 0])}),
        "WebP": (image, "WEBP", {"lossless": True}),
        "WebP, transparent": (clear, "WEBP", {"lossless": True, "exact": True}),
        "GIF": (indexed, "GIF", {}),
        "GIF, transparent": (indexed, "GIF", {"transparency": 3}),
        "GIF, of two frames": (
            indexed,
            "GIF",
            {"save_all": True, "append_images": [Image.new("P", image.size)]},
        ),
        "BMP": (image, "BMP", {}),
        "BMP, palette": (indexed, "BMP", {}),
        "TIFF": (image, "TIFF", {}),
        "TIFF, LZW": (image, "TIFF", {"compression": "tiff_lzw"}),
        "TIFF, transparent": (clear, "TIFF", {}),
        "TIFF, CMYK": (image.convert("CMYK"), "TIFF", {}),
    }
    lossy = {
        "JPEG": (image, "JPEG", {"quality": 95}),
        "JPEG, gray": (gray, "JPEG", {"quality": 95}),
        "JPEG, progressive": (image, "JPEG", {"quality": 95, "progressive": True}),
        "AVIF": (image, "AVIF", {"quality": 95}),
        "HEIC": (image, "HEIF", {"quality": 95}),
    }
    for most, kinds in ((1, exact), (12, lossy)):
        for name, (source, kind, options) in kinds.items():
            data = encoded(source, kind, **options)
            shown = Image.open(io.BytesIO(data))
            yield name, data, on_white(shown), most


NAMES = [name for name, *_ in files(np.random.default_rng(0))]


@pytest.fixture(scope="module")
def by_name():
    return {name: rest for name, *rest in files(np.random.default_rng(0))}


@pytest.fixture(scope="module")
def in_graph():
    """The whole image of a file, in a graph that is traced once for all formats."""
    signature = [tf.TensorSpec((), tf.string)]
    return tf.function(lambda file: WHOLE.pixels(file), input_signature=signature)


@pytest.mark.parametrize("name", NAMES)
def test_every_format_has_the_pixels_that_are_shown(name, by_name, in_graph, monkeypatch):
    data, expected, most = by_name[name]
    assert image_formats.of(data[: image_formats.HEAD]) == name.partition(",")[0]
    got = WHOLE.pixels(data)
    assert got.shape == (*SIZE, 3)
    assert np.abs(got - expected).max() <= most
    np.testing.assert_array_equal(in_graph(tf.constant(data)), got)
    gray = WHOLE.pixels(data, 1)
    assert np.abs(gray[..., 0] - expected @ [0.299, 0.587, 0.114]).max() <= most + 1
    without_tensorflow(monkeypatch)
    assert np.abs(WHOLE.pixels(data).astype(int) - got).max() <= (8 if most > 1 else 1)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_exported_reads_it_alike_or_refuses_it(name, by_name):
    data, expected, most = by_name[name]
    try:
        got = cropping.decode_central(tf.constant(data), WHOLE, in_graph=True).numpy()
    except tf.errors.InvalidArgumentError:
        kinds = ("WebP", "TIFF", "AVIF", "HEIC", "PNG, transparent color", "PNG, transparent gray")
        assert name.startswith((*kinds, "GIF, transparent", "BMP, palette"))
        return
    assert np.abs(got - expected).max() <= most


def png_of_16_bits(pixels, color_type):
    """A PNG file written from its definition: Pillow writes no colors of 16 bits."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, color_type, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(text)) + kind + text + struct.pack(">I", zlib.crc32(kind + text))
        for kind, text in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def deep(rng, high=65535):
    smooth = np.asarray(smooth_image(rng)).astype("float64") / 255
    return np.round(smooth * high).astype("uint16")


def tiff(array, **options):
    import tifffile

    memory = io.BytesIO()
    tifffile.imwrite(memory, array, **options)
    return memory.getvalue()


def npy(array):
    memory = io.BytesIO()
    np.save(memory, array)
    return memory.getvalue()


def test_16_bits_keep_their_contrast(rng):
    colors = deep(rng)
    expected = colors / 65535 * 255
    opacity = np.full((*SIZE, 1), 65535, "uint16")
    opacity[:30] = 16384
    alpha = opacity / 65535
    cases = {
        "PNG": (png_of_16_bits(colors, 2), expected),
        "PNG with opacity": (
            png_of_16_bits(np.dstack([colors, opacity]), 6),
            expected * alpha + 255 * (1 - alpha),
        ),
        "gray PNG": (png_of_16_bits(colors[..., :1], 0), np.repeat(expected[..., :1], 3, -1)),
        "TIFF": (tiff(colors, photometric="rgb"), expected),
        "TIFF by planes": (
            tiff(np.moveaxis(colors, -1, 0), photometric="rgb", planarconfig="separate"),
            expected,
        ),
        "gray TIFF": (tiff(colors[..., 0]), np.repeat(expected[..., :1], 3, -1)),
        "NumPy": (npy(colors), expected),
        "NumPy, gray": (npy(colors[..., 0]), np.repeat(expected[..., :1], 3, -1)),
    }
    for name, (data, shown) in cases.items():
        assert np.abs(WHOLE.pixels(data) - shown).max() <= 1, name


def test_a_range_is_what_becomes_black_and_white(rng):
    colors = deep(rng, 4095)
    of_range = Preprocessing(None, crop_mode="squash", value_range=(1000, 3000))
    expected = np.clip((colors.astype(float) - 1000) / 2000, 0, 1) * 255
    for data in (png_of_16_bits(colors, 2), tiff(colors, photometric="rgb"), npy(colors)):
        assert np.abs(of_range.pixels(data) - expected).max() <= 1
    # Files of 8 bits have another range.
    small = encoded(smooth_image(rng), "PNG")
    np.testing.assert_array_equal(of_range.pixels(small), WHOLE.pixels(small))


def test_real_numbers(rng):
    shares = np.asarray(smooth_image(rng)).astype("float32") / 255
    for data in (tiff(shares, photometric="rgb"), npy(shares), npy(shares.astype("float16"))):
        assert np.abs(WHOLE.pixels(data) - shares * 255).max() <= 1
    with pytest.raises(ValueError, match=r"numbers from -1 to 1\.\d+: say which .*--value-range"):
        WHOLE.pixels(npy(shares * 3 - 1))
    hounsfield = Preprocessing(None, crop_mode="squash", value_range=(-1, 2))
    assert np.abs(hounsfield.pixels(npy(shares * 3 - 1)) - shares * 255).max() <= 1
    with pytest.raises(ValueError, match="complex64"):
        WHOLE.pixels(npy(shares.astype("complex64")))


def test_several_channels(rng):
    bands = rng.integers(0, 256, (*SIZE, 5), "uint8")
    by_plane, kind = np.moveaxis(bands, -1, 0), {"photometric": "minisblack"}
    planar = tiff(by_plane, planarconfig="separate", **kind)
    contiguous = tiff(bands, planarconfig="contig", **kind)
    for data in (contiguous, npy(bands), planar, tiff(by_plane, **kind)):
        np.testing.assert_array_equal(WHOLE.pixels(data, 5), bands)
    for data in (contiguous, npy(bands), planar):
        with pytest.raises(ValueError, match="it has 5 channels, and the model takes 3"):
            WHOLE.pixels(data, 3)
    with pytest.raises(ValueError, match="it has 3 channels, and the model takes 5"):
        WHOLE.pixels(encoded(smooth_image(rng), "PNG"), 5)
    four = with_alpha(smooth_image(rng))
    np.testing.assert_array_equal(WHOLE.pixels(encoded(four, "PNG"), 4), np.asarray(four))


def test_files_that_run_code_or_lie_are_refused(rng, tmp_path):
    harmful = np.empty(2, object)
    harmful[:] = [1, 2]
    lying = npy(np.zeros((4, 4, 3), "uint8"))[:-10]
    for data in (npy(harmful), lying, b"", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8 ", b"II*\0", b"BM"):
        with pytest.raises(ValueError, match=r"^`image` must be an image file that is whole: "):
            WHOLE.pixels(data)


def test_of_the_first_bytes():
    heads = {
        b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif": "AVIF",
        b"\0\0\0\x18ftypheic\0\0\0\0": "HEIC",
        b"\0\0\0\x18ftypmp42\0\0\0\0": None,
        b"BMW is no image, though it begins so": None,
        b"MM\0*": "TIFF",
        b"%PDF-1.4": None,
        b"": None,
    }
    assert {head: image_formats.of(head) for head in heads} == heads
    names = {"A.JPG": "JPEG", "b.jfif": "JPEG", "c.TIFF": "TIFF", "d.svg": None, "jpg": None}
    assert {name: image_formats.by_name(name) for name in names} == names


def test_a_large_image_is_refused_before_it_is_decoded():
    data = encoded(Image.new("1", (23000, 23000)), "PNG")
    with pytest.raises(
        ValueError, match=r"23,000 x 23,000 pixels, more than .* 400 million; .*-meg"
    ):
        Preprocessing(32).pixels(data)
    wide = npy(np.zeros((1, 1, 3), "uint8")).replace(b"(1, 1, 3)", b"(99999, 99999, 3)")
    with pytest.raises(ValueError, match="99,999 x 99,999 pixels"):
        Preprocessing(32).pixels(wide)


@pytest.mark.parametrize("mode", ["center", "squash", "pad"])
def test_a_large_image_is_what_a_small_one_is(mode, rng, monkeypatch):
    """What is larger than LARGE is resized by Pillow, a part at a time."""
    preprocessing = Preprocessing((20, 30), crop_mode=mode, interpolation="bicubic")
    data = {kind: encoded(smooth_image(rng), kind) for kind in ("PNG", "JPEG", "WEBP")}
    expected = {kind: preprocessing.pixels(file).astype(int) for kind, file in data.items()}
    monkeypatch.setattr(decoding, "LARGE", 1000)
    monkeypatch.setattr("keras_mixers.preprocessing.in_graph_formats.LARGE", 1000)
    for kind, file in data.items():
        got = preprocessing.pixels(file)
        assert got.shape == (20, 30, 3)
        assert np.abs(got - expected[kind]).max() <= 4, kind


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1), (3, 2)])
@pytest.mark.parametrize("mode", ["center", "squash", "pad"])
def test_images_of_any_sides(size, mode):
    image = Image.new("RGB", size, (200, 100, 50))
    preprocessing = Preprocessing((16, 24), crop_mode=mode)
    for kind in ("PNG", "JPEG", "WEBP"):
        got = preprocessing.pixels(encoded(image, kind))
        assert got.shape == (16, 24, 3)
        if mode != "pad":
            assert np.abs(got - [200.0, 100.0, 50.0]).max() <= 4


def test_crop_modes_by_hand():
    """A wide image: black, white in the middle third, black."""
    pixels = np.zeros((30, 90, 3), "uint8")
    pixels[:, 30:60] = 255
    data = encoded(Image.fromarray(pixels), "PNG")
    center = Preprocessing(30, crop=1.0).pixels(data)
    np.testing.assert_array_equal(center, 255)
    squashed = Preprocessing((30, 30), crop_mode="squash").pixels(data)
    assert (squashed[:, 12:18] == 255).all()
    assert not squashed[:, :8].any()
    padded = Preprocessing((30, 30), crop_mode="pad", mean=0.5).pixels(data)
    assert (padded[:9] == 128).all()
    assert (padded[21:] == 128).all()
    assert (padded[12:18, 12:18] == 255).all()
    assert not padded[12:18, :8].any()
    for preprocessing in (
        Preprocessing(30, crop_mode=mode) for mode in ("center", "squash", "pad")
    ):
        np.testing.assert_array_equal(preprocessing.pixels(pixels), preprocessing.pixels(data))


def test_a_random_crop_distorts_an_image_as_its_evaluation_does():
    """Where a wide image is squashed, a share of its width stands for as large a one of height."""
    ramp = np.zeros((50, 400, 3), "uint8")
    ramp[..., 0] = np.linspace(0, 255, 400)
    ramp[..., 1] = np.linspace(0, 255, 50)[:, None]
    data = tf.constant(encoded(Image.fromarray(ramp), "PNG"))
    ratios = []
    for number in range(20):
        seed = tf.constant((0, number))
        preprocessing = Preprocessing(40, crop_mode="squash")
        crop = cropping.random_crop(data, seed, preprocessing, 0.5).numpy().astype(float)
        ratios.append(np.ptp(crop[20, :, 0]) / np.ptp(crop[:, 20, 1]))
    assert 0.6 < min(ratios) < 0.9
    assert 1.1 < max(ratios) < 1.5


def test_what_is_missing_is_named(rng, monkeypatch):
    image = smooth_image(rng)
    heic = encoded(image, "HEIF")
    colors = tiff(deep(rng), photometric="rgb")
    hide(monkeypatch, "pillow_heif")
    image_formats.lacks.cache_clear()
    try:
        with pytest.raises(ValueError, match=r'HEIC needs pillow-heif: .*"keras_mixers\[images\]"'):
            WHOLE.pixels(heic)
    finally:
        image_formats.lacks.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    with pytest.raises(ValueError, match=r'TIFF needs tifffile: .*"keras_mixers\[images\]"'):
        WHOLE.pixels(colors)
