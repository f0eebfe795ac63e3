"""Writes a data set of real JPEG images: handwritten digits over photographs, in ten classes.

Everything comes from scikit-learn's wheel: its 1,797 digits of 8 x 8 pixels, each drawn large and
light with a dark outline, in a random color, size and rotation, near the middle of a random crop
of one of its two photographs, darkened. The digits drawn for validation are never drawn for
training. Images have 224 to 320 pixels a side and JPEG quality 90, so that decoding and resizing
cost about what they cost with photographs. The same seed gives the same images.

OUT receives, of the same files with the same labels (the classes' alphabetical order):
  folder/train/eight/00008.jpg ...  a folder per split and class
  shards/train-00000-of-00004...    from keras-mixers make-shards
  tfds/jpeg_digits/1.0.0/...        for tensorflow-datasets, made without network; read it with
                                    tfds.builder("jpeg_digits", data_dir="OUT/tfds")

A run that was cut short leaves only OUT.incomplete, and the same command starts over. Two CPU cores
need about a minute. Exit status: 0, or 2 when the arguments cannot be used.

Examples:
  python benchmarks/jpeg_digits.py runs/jpeg_digits
  python benchmarks/jpeg_digits.py runs/few --train 200 --validation 50 --formats folder shards
  python benchmarks/jpeg_digits.py runs/seen --train 40 --contact-sheet runs/seen.png
"""

import argparse
import concurrent.futures
import os
import pathlib
import shutil
import sys

import numpy as np

if __package__ is None:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

from keras_mixers.commands import cli

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CLASSES = sorted(NAMES)  # An image's label is its class's place here, in every format.
FORMATS = ("folder", "shards", "tfds")
SPLITS = ("train", "validation")
SIZES = ((224, 224), (256, 256), (320, 240), (240, 320), (288, 256), (224, 288))  # Width, height.
DIGIT_SIZES = (140, 190)  # Pixels, without outline; with MAX_SHIFT, always within 224.
MAX_SHIFT = 0.05  # From the middle of the image, of its width and height.
MAX_ROTATION = 10  # Degrees.
BRIGHTNESS = (0.4, 0.7)  # Of the photographs, so that the digit is the brightest.
QUALITY = 90
SHARDS = 4  # Of each split; of the smaller one in tfds, whose shards are equally large.
_SHEET = (10, 4)  # Columns and rows.
_TILE = 160


def digits():
    """Returns for each split a list of ten arrays: the 8 x 8 digits of each class, from 0 to 1.

    Every fifth digit of a class is for validation.
    """
    import sklearn.datasets

    bunch = sklearn.datasets.load_digits()
    of_class = [bunch.images[bunch.target == digit] / 16 for digit in range(10)]
    return {
        "train": [images[np.arange(len(images)) % 5 > 0] for images in of_class],
        "validation": [images[::5] for images in of_class],
    }


def draw(digit, photographs, rng):
    """Returns a `PIL.Image` of one 8 x 8 `digit` over a crop of one of the photographs."""
    from PIL import Image, ImageFilter

    width, height = SIZES[rng.integers(len(SIZES))]
    image = _background(photographs[rng.integers(len(photographs))], width, height, rng)
    size = int(rng.integers(*DIGIT_SIZES, endpoint=True))
    small = Image.fromarray(np.pad(255 * digit, 1).astype("uint8"))  # A margin for the outline.
    ink = small.resize((size * 10 // 8,) * 2, Image.Resampling.LANCZOS)
    ink = ink.rotate(rng.uniform(-MAX_ROTATION, MAX_ROTATION), Image.Resampling.BICUBIC)
    around = ink.filter(ImageFilter.GaussianBlur(size / 22))
    # Steep rather than hard thresholds: soft edges, as from a camera.
    mask = ink.point(lambda value: 6 * (value - 110))
    outline = around.point(lambda value: 5 * (value - 22))
    shift = 1 + rng.uniform(-2 * MAX_SHIFT, 2 * MAX_SHIFT, 2)
    place = [
        round((side * by - ink.width) / 2) for side, by in zip((width, height), shift, strict=True)
    ]
    dark = rng.integers(0, 50, 3)
    light = 255 - rng.integers(0, 110, 3) * rng.integers(0, 2, 3)
    light[rng.integers(3)] = 255  # Never gray.
    image.paste(tuple(dark.tolist()), place, outline)
    image.paste(tuple(light.tolist()), place, mask)
    return image


def _background(photograph, width, height, rng):
    """Returns a crop, its longer side 60 to 100 % of the photograph's height, perhaps mirrored."""
    from PIL import Image, ImageEnhance, ImageOps

    scale = rng.uniform(0.6, 1) * photograph.height / max(width, height)
    box_width, box_height = scale * width, scale * height
    left = rng.uniform(0, photograph.width - box_width)
    top = rng.uniform(0, photograph.height - box_height)
    box = (left, top, left + box_width, top + box_height)
    crop = photograph.resize((width, height), Image.Resampling.BICUBIC, box)
    crop = ImageEnhance.Brightness(crop).enhance(rng.uniform(*BRIGHTNESS))
    return ImageOps.mirror(crop) if rng.integers(2) else crop


def write_folder(folder, counts, seed):
    """Writes `folder/<split>/<class>/<number>.jpg`, with as many images of each class.

    Args:
        folder: A `pathlib.Path`.
        counts: Number of images of each split, as a dict.
        seed: Every image has its own generator, of this, the split and the image's number.
    """
    import sklearn.datasets
    from PIL import Image
    from tqdm import tqdm

    sources = digits()
    photographs = [Image.fromarray(image) for image in sklearn.datasets.load_sample_images().images]

    def write(split, number):
        rng = np.random.default_rng([seed, SPLITS.index(split), number])
        of_class = sources[split][number % 10]
        image = draw(of_class[rng.integers(len(of_class))], photographs, rng)
        path = folder / split / NAMES[number % 10] / f"{number:05d}.jpg"
        image.save(path, quality=QUALITY)

    for split, count in counts.items():
        for name in NAMES:
            (folder / split / name).mkdir(parents=True)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            futures = [pool.submit(write, split, number) for number in range(count)]
            for future in tqdm(futures, desc=f"drawing {split}", unit=" images"):
                future.result()


def files_of(folder, split):
    """Returns the paths of a split's images in `folder`, in the order they were drawn."""
    return sorted((folder / split).glob("*/*.jpg"), key=lambda path: path.name)


def write_tfds(folder, out):
    """Prepares a tensorflow-datasets folder of the files in `folder`, which stay untouched."""
    import tensorflow_datasets as tfds
    from tqdm import tqdm

    features = {
        "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
        "label": tfds.features.ClassLabel(names=CLASSES),
    }
    data_dir = out / "jpeg_digits" / "1.0.0"
    data_dir.mkdir(parents=True)
    identity = tfds.core.DatasetIdentity(
        name="jpeg_digits",
        version=tfds.core.Version("1.0.0"),
        data_dir=str(data_dir),
        module_name="benchmarks.jpeg_digits",
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        description="scikit-learn's digits drawn over scikit-learn's photographs.",
        features=tfds.features.FeaturesDict(features),
    )
    files = {split: files_of(folder, split) for split in SPLITS}
    # A builder's download_and_prepare would need the package importlib_resources, which
    # tensorflow-datasets does not ask for: https://github.com/tensorflow/datasets/issues/11212
    writer = tfds.core.SequentialWriter(info, -(-min(map(len, files.values())) // SHARDS))
    writer.initialize_splits(list(SPLITS))
    for split in SPLITS:
        for path in tqdm(files[split], desc=f"tfds, {split}", unit=" images"):
            example = {"image": path.read_bytes(), "label": path.parent.name}
            writer.add_examples({split: [example]})
    writer.close_all()


def write_contact_sheet(folder, path):
    """Writes the first images of the training split, side by side, with their classes."""
    from PIL import Image, ImageDraw, ImageOps

    columns, rows = _SHEET
    sheet = Image.new("RGB", (columns * _TILE, rows * (_TILE + 20)), "white")
    pen = ImageDraw.Draw(sheet)
    for index, file in enumerate(files_of(folder, "train")[: columns * rows]):
        left, top = index % columns * _TILE, index // columns * (_TILE + 20)
        with Image.open(file) as image:
            sheet.paste(ImageOps.pad(image, (_TILE - 4,) * 2, color="white"), (left + 2, top))
        pen.text((left + 4, top + _TILE), file.parent.name, "black")
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def write(out, counts, seed=0, formats=FORMATS, contact_sheet=None):
    """Writes the data set in all `formats` to the folder `out`, which must not exist."""
    scratch = out.with_name(f"{out.name}.incomplete")
    if scratch.exists():
        shutil.rmtree(scratch)
    folder = scratch / "folder"
    write_folder(folder, counts, seed)
    if contact_sheet:
        write_contact_sheet(folder, contact_sheet)
    if "shards" in formats:
        from keras_mixers.data import shards

        shards.make_shards(folder, scratch / "shards", SHARDS)
    if "tfds" in formats:
        write_tfds(folder, scratch / "tfds")
    if "folder" not in formats:
        shutil.rmtree(folder)
    scratch.rename(out)


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="benchmarks/jpeg_digits.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=pathlib.Path, help="folder for the data set, not yet there")
    for split, count in (("train", 6000), ("validation", 1000)):
        parser.add_argument(
            f"--{split}",
            type=int,
            default=count,
            help=f"number of {split} images (default: {count})",
            metavar="N",
        )
    parser.add_argument("--seed", type=int, default=0, help="default: 0", metavar="N")
    parser.add_argument(
        "--formats", nargs="+", choices=FORMATS, default=FORMATS, help="what to write; default: all"
    )
    parser.add_argument(
        "--contact-sheet",
        type=pathlib.Path,
        help="also write an image of the first 40 training images",
        metavar="FILE.png",
    )
    args = parser.parse_args(argv)
    for split in SPLITS:
        count = getattr(args, split)
        if not 10 <= count <= 100_000:  # Ten classes, five digits in a name.
            parser.error(f"argument --{split}: must be from 10 to 100000. Received: {count}")
    if args.seed < 0:
        parser.error(f"argument --seed: must be at least 0. Received: {args.seed}")
    if args.contact_sheet and args.contact_sheet.suffix != ".png":
        parser.error(
            f"argument --contact-sheet: must end with .png. Received: {args.contact_sheet}"
        )
    if args.out.exists():
        parser.error(
            f"argument out: must not exist yet: remove it or choose another. Received: {args.out}"
        )
    modules = ("PIL", "sklearn", "tabulate", "tqdm")
    modules += ("tensorflow_datasets",) if "tfds" in args.formats else ()
    cli.prepare(parser, modules)
    return parser, args


def main(argv=None):
    parser, args = _parse(argv)
    import tensorflow as tf

    counts = {split: getattr(args, split) for split in SPLITS}
    try:
        write(args.out, counts, args.seed, args.formats, args.contact_sheet)
    except (OSError, tf.errors.OpError) as error:
        parser.error(f"argument out: must be a folder that can be written. Received: {error}")
    _print(args.out)
    return 0


def _print(out):
    from tabulate import tabulate

    rows = []
    for path in sorted(out.iterdir()):
        sizes = [file.stat().st_size for file in path.rglob("*") if file.is_file()]
        rows.append((path, len(sizes), f"{sum(sizes) / 1e6:.1f}"))
    print(tabulate(rows, ("written", "files", "MB"), "github"))


if __name__ == "__main__":
    sys.exit(main())
