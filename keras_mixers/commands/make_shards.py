"""Turns a folder of images into TFRecord shards, which disks and buckets read faster.

IMAGES holds one folder per split: train and, if there are any, validation and test, by any usual
name; or no splits, which makes all of it train. Each split holds one folder per class, with images
in it or in folders below it, of any format that is read in training. What is an image is told by
its first bytes, whatever its name; names that begin with a dot are passed over. Both IMAGES and OUT
may be on Google Cloud Storage (gs://bucket/folder).

OUT receives
  classes.txt                       one class a line, sorted; a class's label is its line, from 0
  counts.json                       the number of records of each file, to tell a file that was cut
  train-00000-of-00016.tfrecord ... and so on for the other splits, as train, validation and test
Each record is a tf.train.Example with image (the file's bytes, untouched), label (int64) and name
(the path in IMAGES, such as train/dog/1.jpg). Images are spread over the shards in an order
shuffled with the fixed seed 0: the same folder always gives the same shards.

A run that was cut short leaves nothing under these names but the folder OUT/incomplete-shards,
and the same command starts over. Exit status: 0; 1 when the shards were written, but more than
0.1 % of the files are no images and were left out; 2 when the arguments cannot be used.

Examples:
  keras-mixers make-shards ~/images ~/shards
  keras-mixers make-shards ~/images gs://my-bucket/shards --shards 64 --overwrite
"""

import argparse

from keras_mixers.commands import cli

MAX_LEFT_OUT = 0.001  # Of all files.


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="keras-mixers make-shards",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("images", metavar="IMAGES", help="folder of images, as above")
    parser.add_argument("out", metavar="OUT", help="folder to write the shards to")
    parser.add_argument(
        "--shards",
        type=int,
        help="number of shards of each split, from 1 to 99999 (default: one per 150 MB or so)",
        metavar="N",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the shards in OUT")
    args = parser.parse_args(argv)
    if args.shards is not None and not 1 <= args.shards <= 99_999:
        parser.error(f"argument --shards: must be from 1 to 99999. Received: {args.shards}")
    cli.prepare(parser, ("tabulate", "tqdm"))
    return parser, args


def _print(splits):
    """Prints what was written; returns whether too many files were left out."""
    from tabulate import tabulate

    rows = [
        (split.name, split.images, len(split.labels), split.shards, f"{split.size / 1e6:.1f}")
        for split in splits
    ]
    print(tabulate(rows, ("split", "images", "classes", "shards", "MB"), "github"))
    left_out = [name for split in splits for name in split.left_out]
    files = len(left_out) + sum(split.images for split in splits)
    too_many = len(left_out) > MAX_LEFT_OUT * files
    if left_out:
        print(
            f"{len(left_out)} of {files} files{', more than 0.1 %,' if too_many else ''} are "
            "no images that can be read, by their first bytes, and were left out: "
            f"{', '.join(left_out[:10])}{', ...' if len(left_out) > 10 else ''}"
        )
    return too_many


def main(argv=None):
    parser, args = _parse(argv)
    import tensorflow as tf

    from keras_mixers.data import shards

    try:
        splits = shards.make_shards(args.images, args.out, args.shards, args.overwrite)
    except UnicodeError as error:
        parser.error(f"`images` must have file names in UTF-8. Received: {error.object!r}")
    except (ValueError, tf.errors.OpError) as error:
        parser.error(next(iter(str(error).splitlines()), type(error).__name__))
    return 1 if _print(splits) else 0
