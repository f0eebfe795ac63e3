"""How a run ends before its last step: one sentence, and an exit status that scripts can read."""

import difflib


class RunError(Exception):
    """Ends the run with one sentence, which says what to do."""

    status = 1


class UsageError(RunError, ValueError):
    """The command, the data or the machine cannot be used as asked for."""

    status = 2


class SettingError(RunError):
    """A setting is out of range. No `ValueError`, which pydantic and tyro would put into a text."""

    status = 2


class Preempted(RunError):
    """The run was asked to stop, in all its processes; the same command continues it."""

    status = 75  # EX_TEMPFAIL of sysexits.h: try again.


class Disconnected(RunError):
    """The run lost a part of its machine; the same command continues it."""

    status = Preempted.status


def did_you_mean(name, names, likeness=0.6):
    """Returns a question to end a sentence with, or "" where none of `names` is like `name`."""
    near = difflib.get_close_matches(name, names, 1, likeness)
    return f" Did you mean {near[0]}?" if near else ""


# Before what `tf.debugging.Assert` was given to say.
_ASSERTED = "Summarized data: b'"
# What TensorFlow says before it says what is wrong.
_BEFORE = ("Graph execution error:", "Detected at node", "<stack traces unavailable>")


def some(names, most=5):
    """Returns the first of `names` for a sentence, with dots for more."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def first_line(error):
    """Returns the first line of another library's error that says something, or its beginning."""
    text = str(error).split(_ASSERTED)[-1]
    lines = [line for line in text.splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(_BEFORE)]
    line = (said or lines or [type(error).__name__])[0]
    # TensorFlow says where it happened before it ("{{node ...}}"), and in which operation behind.
    return line.split("}} ")[-1].split(" [Op:")[0].strip().removesuffix("'")[:300]
