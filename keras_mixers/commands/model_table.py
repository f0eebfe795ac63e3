"""Prints the tables of models and of published weights, and how cost grows with the image.

Parameters and multiply-adds (MACs: of convolutions and matrix products, one image) are counted
from the built models. The accuracies are the papers', not measured here.

Examples:
  keras-mixers model-table
  keras-mixers model-table --growth
  keras-mixers model-table --weights
"""

import argparse

from keras_mixers.commands import cli


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="keras-mixers model-table",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--growth", action="store_true", help="print the growth of the cost instead of the table"
    )
    parser.add_argument(
        "--weights", action="store_true", help="print the published weights instead of the table"
    )
    args = parser.parse_args(argv)
    cli.prepare(parser, ("tabulate",))
    return args


def main(argv=None):
    args = _parse(argv)
    from keras_mixers.evaluation import costs, tables

    if args.weights or not args.growth:
        print(tables.weights() if args.weights else tables.table())
        return 0
    print(costs.growth())
    print(
        "\nThe mixing part of a block, and its formula:\n"
        "MLP-Mixer: token mixing with hidden units in proportion to the tokens, 2 alpha (HW)^2 C;\n"
        "S2-MLP: the two dense layers around the shift, 2 HW C^2;\n"
        "sMLPNet: depthwise convolution and axial projection, HWC(H+W) + 3 HWC^2 + 9 HWC."
    )
    counted, formula = costs.s2_mlp_block()
    print(
        f"Parameters of a block of S2MLPDeep without its norms: {counted:,}; "
        f"c(2c + 2c') + 3c + c' = {formula:,}, c = 384, c' = 1536."
    )
    return 0
