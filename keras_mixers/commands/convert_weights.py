"""Converts the weights of a model from one codebase's file to another's.

IN is one of these:
  RUN                 run folder, whose newest whole checkpoint is taken, or its model.keras
  FILE.keras          nothing in it is executed
  FILE.npz            Google's MLP-Mixer, of both generations of names; or timm's names
  FILE.safetensors    timm's MLP-Mixer, SPACH's sMLPNet
  FILE.pth            the same, where PyTorch is installed; nothing but its weights is read

OUT is what its ending says:
  FILE.keras          the model, for keras.models.load_model after import keras_mixers
  FILE.weights.h5     its weights, for `weights=`
  FILE.npz            Google's names, of an MLP-Mixer
  FILE.safetensors    timm's names, of an MLP-Mixer

The model is found from the shapes of the arrays. What is written is read again and compared, bit by
bit. Images must be square where a file of another codebase does not say their size.

Exit status: 0 when it is written; 2 when IN cannot be used or OUT cannot be written.

Examples:
  keras-mixers convert-weights Mixer-B_16.npz mixer_b16.keras
  keras-mixers convert-weights smlp_s.pth smlpnet_s.keras --entry model_ema
  keras-mixers convert-weights runs/mixer mixer.safetensors
"""

import argparse
import dataclasses
import pathlib
import sys
import tempfile

from keras_mixers import files
from keras_mixers.commands import cli, options
from keras_mixers.errors import RunError, UsageError, first_line

_KINDS = "IN must be a weight file, or a model in a run folder or a .keras file"
ENDINGS = (".keras", ".weights.h5", ".npz", ".safetensors")


def run(args):
    """Converts what `args` ask for. Returns the exit status."""
    import numpy as np

    from keras_mixers import weights as weight_files

    model = _read(args)
    with tempfile.TemporaryDirectory(dir=args.out.parent, prefix=".convert-") as scratch:
        written = pathlib.Path(scratch, args.out.name)
        _write(model, written)
        kept = [np.asarray(weight) for weight in model.weights]
        try:
            weight_files.assign(model, written, namings=getattr(model, "namings", ()))
        except ValueError as error:
            raise UsageError(
                f"IN must be one of this package's models by itself: its {args.out.name} could not "
                f"be read again ({first_line(error).replace(str(written), str(args.out))})"
            ) from error
        for weight, before in zip(model.weights, kept, strict=True):
            if np.asarray(weight).tobytes() != before.tobytes():
                raise UsageError(f"OUT has another {weight.path} than IN")
        written.replace(args.out)
    _report(args, model)
    return 0


def _read(args):
    """Returns the model that IN is the weights of."""
    path = files.named("IN", args.source)
    if path.is_dir() or path.suffix == ".keras":
        return _scaling_given(_read_model(path), _given(args))
    from keras_mixers import weights as weight_files
    from keras_mixers.models import family

    source = weight_files.describe(args.source, args.entry, family.all_namings())
    found = family.of_naming(source.naming)
    if found is None:
        raise UsageError(
            "IN must say what its model is: give its .keras file, named so, instead of weights"
        )
    given = _given(args)
    if source.preprocessing is None and len(given) < 2:
        _warn(
            "IN does not say how its images are prepared; assumed what is usual for its family: "
            "give --mean and --std if it was trained with others."
        )
    preprocessing = source.preprocessing or found.preprocessing
    try:
        arguments = found.arguments(weight_files.Shapes(source))
    except ValueError as error:
        raise UsageError(str(error).replace("`weights`", "IN")) from None
    model = found.build(
        **arguments,
        preprocessing=dataclasses.replace(preprocessing, **given),
    )
    weight_files.assign(model, args.source, namings=model.namings, source=source)
    return model


def _read_model(path):
    from keras_mixers.evaluation import loading

    try:
        model = loading.read_model(path, warn=_warn).model
    except UsageError as error:
        raise UsageError(str(error).replace(f"MODEL must be {loading.KINDS}", _KINDS)) from None
    if model is None:
        raise UsageError(f"{_KINDS}, not an exported one. Received: {path}")
    return model


def _given(args):
    return {name: tuple(v) for name in ("mean", "std") if (v := getattr(args, name))}


def _scaling_given(model, given):
    """Returns a model as it is, or, where it does not scale, with what --mean and --std say."""
    import keras

    from keras_mixers.preprocessing import ImagePreprocessing, Preprocessing, own_scaling

    if not given:
        return model
    own = own_scaling.of(model)
    if own.preprocessing or own.note:
        says = own.preprocessing or own.note
        raise UsageError(f"--mean and --std are for an IN that does not say it: IN has {says}")
    _, height, width, _ = model.input_shape
    preprocessing = Preprocessing((height, width), **given)
    inputs = keras.Input(model.input_shape[1:], name="images")
    images = ImagePreprocessing(preprocessing, name="preprocessing")(inputs)
    return keras.Model(inputs, model.call(images), name=model.name)


def _write(model, path):
    from keras_mixers import weights as weight_files

    if path.suffix == ".keras":
        model.save(path)
    elif path.suffix == ".h5":
        model.save_weights(path)
    else:
        weight_files.save(model, path)


def _report(args, model):
    from tabulate import tabulate

    rows = [
        ("written", args.out),
        ("made of", args.source),
        ("parameters", f"{model.count_params():,}"),
        ("images", " x ".join(map(str, model.input_shape[1:]))),
        ("outputs", " x ".join(map(str, model.output_shape[1:]))),
        ("size", f"{args.out.stat().st_size / 1e6:,.1f} MB"),
    ]
    print(tabulate(rows, tablefmt="plain", disable_numparse=True))


def _warn(sentence):
    print(sentence, file=sys.stderr)


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="keras-mixers convert-weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", help="weight file, .keras file or run folder, as above", metavar="IN")
    add(
        "out",
        type=pathlib.Path,
        help="file to write, whose ending says its format, as above",
        metavar="OUT",
    )
    shown = "name of one of the sets of weights in a PyTorch file of several (default: model)"
    add("--entry", metavar="NAME", help=shown)
    options.add_scaling(parser, "what IN says")
    add("--overwrite", action="store_true", help="replace an existing OUT")
    args = parser.parse_args(argv)
    if not args.out.name.endswith(ENDINGS) or args.out.name in ENDINGS:
        parser.error(f"argument OUT: must end in {', '.join(ENDINGS)}. Received: {args.out}")
    if not args.out.parent.is_dir():
        parser.error(f"argument OUT: must be in a folder that exists. Received: {args.out}")
    if args.out.exists() and not args.overwrite:
        parser.error(f"{args.out} exists: choose another name or pass --overwrite")
    return parser, args


def main(argv=None):
    parser, args = _parse(argv)
    cli.prepare(parser, ("h5py", "safetensors", "tabulate"), ("tensorflow", "jax"))
    try:
        return run(args)
    except (RunError, ValueError, OSError) as error:
        print(f"keras-mixers convert-weights: error: {first_line(error)}", file=sys.stderr)
        return 2
