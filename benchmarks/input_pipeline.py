"""Images per second of the training pipeline, beside the ceiling measured in the same run.

The ceiling is bare decoding of a random part of each JPEG and resizing it, on all cores, by the
same library, of files that are in memory already. The pipeline does that and all the rest: it draws
the order and the crops, reads the files, passes over bad images, batches and scales. The variants
take turns, round after round; the table has medians with the smallest and largest value. Each
augmentation's price is what it adds to the time of an image, on all cores together.

--memory trains a tiny model instead and prints the memory of the process as it goes on.

Examples:
  python benchmarks/jpeg_digits.py runs/jpeg_digits
  python benchmarks/input_pipeline.py runs/jpeg_digits/folder
  python benchmarks/input_pipeline.py runs/jpeg_digits/shards --batch-size 128
  python benchmarks/input_pipeline.py runs/jpeg_digits/folder --memory 20000
"""

import argparse
import dataclasses
import os
import pathlib
import statistics
import sys
import tempfile
import time

if __package__ is None:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

import keras_mixers.training  # noqa: F401  (sets what TensorFlow reads when it is imported)
from keras_mixers.commands import cli

PRICES = {
    "flip": {"flip": True},
    "bicubic, antialiased": {"interpolation": "bicubic"},
    "RandAugment of the Mixer recipe": {"randaugment": "fixed", "randaugment_magnitude": 15.0},
    "RandAugment of the sMLPNet recipe": {
        "randaugment": "increasing",
        "randaugment_magnitude": 9.0,
    },
    "color jitter 0.4": {"color_jitter": 0.4},
    "erasing 0.25": {"erasing": 0.25},
    "MixUp": {"mixup": 0.8},
    "CutMix": {"cutmix": 1.0},
}
_MEMORY_LINES = 10


def plain_config(image_size, batch_size):
    """Returns a configuration with random crops and nothing else."""
    from keras_mixers.training.config import TrainingConfig

    return TrainingConfig(
        image_size=image_size,
        batch_size=batch_size,
        crop_min_area=0.08,
        flip=False,
        randaugment="none",
        mixup=0.0,
    )


def bare_decoding(source, image_size, batch_size):
    """Decodes and resizes crops; the windows are drawn beforehand, the files are in memory.

    One value of each image is delivered, so that not even copying it into a batch is counted.
    """
    import numpy as np
    import tensorflow as tf

    count = min(len(source), 512)
    files = [_jpeg(source, i) for i in range(count)]
    windows = np.stack([_window(data, seed) for seed, data in enumerate(files)])
    files, windows = tf.constant(files), tf.constant(windows)

    def decode(number):
        image = tf.io.decode_and_crop_jpeg(files[number % count], windows[number % count], 3)
        return tf.image.resize(image, (image_size, image_size))[0, 0, 0]

    numbers = tf.data.Dataset.range(tf.int64.max)
    return numbers.map(decode, os.cpu_count()).batch(batch_size).prefetch(2)


def _jpeg(source, number):
    """Returns the bytes of an image, if it can be decoded."""
    import tensorflow as tf

    from keras_mixers.errors import UsageError

    try:
        data = source.read(tf.constant(number, tf.int64))[0].numpy()
        tf.io.decode_and_crop_jpeg(data, (0, 0, *tf.io.extract_jpeg_shape(data)[:2]), 3)
    except tf.errors.OpError:
        raise UsageError(
            "the first 512 images must be JPEG files that can be read: remove what is none, or "
            f"take another set. Received: {source.name(number)}"
        ) from None
    return data


def _window(data, seed):
    import tensorflow as tf

    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.io.extract_jpeg_shape(data),
        tf.zeros((1, 0, 4)),
        (0, seed),
        min_object_covered=0,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        use_image_if_no_bounding_boxes=True,
    )
    return tf.concat([begin[:2], size[:2]], 0).numpy()


def rates(variants, batch_size, seconds, rounds):
    """Returns the images per second of each variant, a number per round."""
    from tqdm import tqdm

    found = {name: [] for name in variants}
    names = list(variants)
    with tqdm(total=rounds * len(names), unit=" measurements", desc="pipeline") as bar:
        for number in range(rounds):
            for name in names if number % 2 == 0 else reversed(names):
                found[name].append(_rate(variants[name], batch_size, seconds))
                bar.update()
    return found


def _rate(dataset, batch_size, seconds):
    # Anew each time: a pipeline that is kept would fill its buffers while others are measured.
    iterator = iter(dataset)
    next(iterator)
    _batches_in(iterator, seconds / 2)
    start = time.perf_counter()
    batches = _batches_in(iterator, seconds)
    return batches * batch_size / (time.perf_counter() - start)


def _batches_in(iterator, seconds):
    end, batches = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        next(iterator)
        batches += 1
    return batches


def table(found, ceiling, plain):
    """Returns one line per variant, as Markdown."""
    from tabulate import tabulate

    lines = []
    for name, values in found.items():
        ratios = [value / top for value, top in zip(values, found[ceiling], strict=True)]
        extra = [1e6 / value - 1e6 / base for value, base in zip(values, found[plain], strict=True)]
        lines.append(
            {
                "pipeline": name,
                "images/s": f"{statistics.median(values):,.0f}",
                "least, most": f"{min(values):,.0f}, {max(values):,.0f}",
                "of the ceiling": f"{statistics.median(ratios):.2f}",
                "price, µs": ""
                if name in (ceiling, plain)
                else f"{statistics.median(extra):,.0f} ({min(extra):,.0f} to {max(extra):,.0f})",
            }
        )
    alignment = ("left", *["right"] * 4)
    return tabulate(lines, "keys", "github", disable_numparse=True, colalign=alignment)


def compare(source, args):
    """Measures the ceiling, the plain pipeline and each augmentation; prints the table."""
    from keras_mixers.data.dataset import ImageData

    plain = plain_config(args.image_size, args.batch_size)
    ceiling_name, plain_name = "ceiling: bare decoding", "ours: random crops"
    data = ImageData(source)
    variants = {
        ceiling_name: bare_decoding(source, args.image_size, args.batch_size),
        plain_name: data.training_batches(plain),
    }
    if not args.no_prices:
        for name, changes in PRICES.items():
            config = dataclasses.replace(plain, **changes)
            variants[f"+ {name}"] = data.training_batches(config)
    found = rates(variants, args.batch_size, args.seconds, args.rounds)
    print(
        f"{os.cpu_count()} cores, {args.image_size} px, batches of {args.batch_size}, "
        f"{args.rounds} rounds of {args.seconds:g} s each\n"
    )
    print(table(found, ceiling_name, plain_name))


def watch_memory(source, steps):
    """Trains a tiny model for about `steps` steps and prints the memory of the process."""
    from etils import epath

    import keras_mixers
    from keras_mixers.data.batch_order import steps_per_epoch
    from keras_mixers.data.dataset import ImageData
    from keras_mixers.training import distribution, loop

    data = ImageData(source)
    plain = plain_config(32, 4)
    per_epoch = steps_per_epoch(len(data), plain.batch_size)
    config = dataclasses.replace(
        plain, epochs=-(-steps // per_epoch), warmup_epochs=0.0, loss="softmax", head_bias=0.0
    )
    lines = []
    total = config.epochs * per_epoch

    def build():
        return keras_mixers.MLPMixer(
            **{"patch_size": 8, "hidden_dim": 16, "num_blocks": 1},
            **{"tokens_mlp_dim": 8, "channels_mlp_dim": 16},
            input_shape=(32, 32, 3),
            classes=data.classes,
            classifier_activation=None,
        )

    def look(step):
        if step in (100, 1000) or step % (total // _MEMORY_LINES) == 0:
            lines.append((step, _resident_megabytes()))

    with tempfile.TemporaryDirectory() as folder:
        where = distribution.connect(config)
        loop.train(config, build, data, data, where.make_engine, epath.Path(folder), on_step=look)
    _print_memory(lines)


def _print_memory(lines):
    from tabulate import tabulate

    rows = [(f"{step:,}", f"{megabytes:,.0f}") for step, megabytes in lines]
    print(tabulate(rows, ("step", "resident memory, MB"), "github", disable_numparse=True))
    later = [megabytes for step, megabytes in lines if step >= lines[-1][0] / 4]
    print(f"\nfrom a quarter of the way to the end: {later[-1] - later[0]:+,.0f} MB")


def _resident_megabytes():
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="benchmarks/input_pipeline.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", help="as --data of recipes/imagenet.py; JPEG images")
    parser.add_argument("--split", default="train", help="default: train")
    parser.add_argument("--image-size", type=int, default=224, help="pixels (default: 224)")
    parser.add_argument("--batch-size", type=int, default=64, help="default: 64")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a measurement (default: 4)")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--no-prices", action="store_true", help="the ceiling and crops only")
    parser.add_argument(
        "--memory", type=int, metavar="STEPS", help="train a tiny model and watch the memory"
    )
    args = parser.parse_args(argv)
    for name in ("image_size", "batch_size", "seconds", "rounds", "memory"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            flag = "--" + name.replace("_", "-")
            parser.error(f"argument {flag}: must be greater than 0. Received: {value}")
    if args.memory is not None and args.memory < 1000:
        parser.error(f"argument --memory: must be 1000 or more. Received: {args.memory}")
    if args.batch_size % 2:
        parser.error(f"argument --batch-size: must be even, for MixUp. Received: {args.batch_size}")
    cli.prepare(parser, ("tabulate", "tqdm", "tensorflow_datasets"))
    return parser, args


def main(argv=None):
    parser, args = _parse(argv)
    from keras_mixers.data.sources import open_source
    from keras_mixers.errors import RunError, UsageError

    try:
        source = open_source(args.data, "~/tensorflow_datasets", args.split)
        if args.memory:
            watch_memory(source, args.memory)
        else:
            compare(source, args)
    except UsageError as error:
        parser.error(f"argument data: {error}")
    except RunError as error:
        print(f"benchmarks/input_pipeline.py: {error}", file=sys.stderr)
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
