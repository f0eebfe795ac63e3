"""How a run ends before its last step: one sentence, and an exit status that scripts can read."""

import difflib


class RunError(Exception):
    """Ends the run with one sentence, which says what to do."""

    status = 1


class UsageError(RunError, ValueError):
    """The command, the data or the machine cannot be used as asked for."""

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


def first_line(error):
    """Returns the first line of what an error of another library says, or its beginning."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]
