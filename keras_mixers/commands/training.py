"""What the commands that train share: their settings, and how they end."""

import dataclasses
import os
import signal
import sys
from typing import Annotated

import tyro

from keras_mixers.errors import Preempted, RunError, first_line
from keras_mixers.training import config as settings
from keras_mixers.training import image_size

_SOURCES = """\
In parentheses is where a setting comes from, with the value there, whatever the default here is:
the Mixer paper is https://arxiv.org/abs/2105.01601, whose models are trained on ImageNet from
scratch; big_vision is Google's configuration of that training, big_vision/configs/mlp_mixer_i1k.py
in https://github.com/google-research/big_vision; timm is
https://github.com/huggingface/pytorch-image-models."""


@dataclasses.dataclass(frozen=True)
class Command(settings.TrainingConfig):
    """The settings of a run; a command's own flags are added by a subclass."""

    model_options: Annotated[
        tuple[str, ...],
        tyro.conf.arg(help_behavior_hint=lambda shown: f"(default: {shown or 'none'})"),
    ] = ()
    image_size: Annotated[
        tuple[str, ...],
        tyro.conf.arg(metavar="PIXELS", help_behavior_hint=lambda shown: f"(default: {shown})"),
    ] = ("224",)


def parse(kind, argv, prog, description, default):
    """Returns the `TrainingConfig` of a command line, and the command line as a `kind`.

    tyro ends the command where a flag is unknown, with the ones that are like it.

    Args:
        kind: Dataclass of the command's own flags; a subclass of `Command`.
        argv: The command line.
        prog: Name of the command.
        description: Shown by --help.
        default: `TrainingConfig` that the arguments change.

    Raises:
        SettingError: A setting is out of range.
    """
    size = image_size.shown(default.image_size)
    given = tyro.cli(
        kind,
        prog=prog,
        description=f"{description}\n\n{_SOURCES}",
        default=kind(**settings.as_dict(default) | {"image_size": (size,)}),
        args=argv,
    )
    fields = dataclasses.fields(settings.TrainingConfig)
    config = settings.TrainingConfig(**{f.name: getattr(given, f.name) for f in fields})
    return config, given


def status_of(work, prog):
    """Calls `work` and returns the command's exit status, after a sentence where it is not 0."""
    try:
        work()
    except RunError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return error.status
    except OSError as error:
        reason = first_line(error)
        print(f"{prog}: a file cannot be written or read: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{prog}: stopped by SIGINT", file=sys.stderr)
        return 130
    return 0


def leave(main, prog):
    """Runs a command as a process of its own, to its end."""

    def stop_at_once(number, frame):
        # Before or after the training loop, which has its own way: nothing is half written.
        print(
            f"{prog}: Stopped by SIGTERM before or after the training steps; start the same "
            "command again.",
            file=sys.stderr,
            flush=True,
        )
        os._exit(Preempted.status)

    signal.signal(signal.SIGTERM, stop_at_once)
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # After a failure at once, as JAX would wait minutes for lost processes.
    (os._exit if status else sys.exit)(status)
