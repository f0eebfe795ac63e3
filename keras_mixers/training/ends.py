"""How a run ends early: signals that ask it to stop, and errors that a person can fix."""

import contextlib
import signal

from keras_mixers.errors import Disconnected, Preempted, RunError, first_line


class StopAsked(Exception):
    """A signal, or another process of the job, asked the loop to stop."""


def stopped(signals, step, last):
    """Returns the `RunError` for a stop after a step, to go on from `last`."""
    return Preempted(
        f"Stopped by {signals[0] if signals else 'SIGTERM'} after step {step:,}; start the same "
        f"command again to go on from {last}."
    )


@contextlib.contextmanager
def stop_signals():
    """Yields a list that receives the name of SIGTERM or SIGINT instead of its usual effect."""
    received = []

    def receive(number, frame):
        # A person who asks again means at once; a machine may send SIGTERM over and over.
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(signal.Signals(number).name)

    try:
        before = {s: signal.signal(s, receive) for s in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # Not in the main thread: signals are somebody else's.
        before = {}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def explained(error, engine, last):
    """Returns the `RunError` for an error of another kind, or None where there is none."""
    if isinstance(error, OSError):
        return RunError(_cannot_write(error, last))
    if "No space left" in str(error):  # As TensorFlow, which writes TensorBoard's, says it.
        return RunError(_cannot_write("No space left on device", last))
    if engine.is_out_of_memory(error):
        return RunError(
            "The device has not enough memory: raise --gradient-accumulation-steps or lower "
            "--batch-size."
        )
    if engine.is_lost(error):
        return Disconnected(
            "The connection to a device, to the data or to another process of the job was lost; "
            f"start the same command again (on all hosts) to go on from {last}. "
            f"It said: {first_line(error)}"
        )
    return None


def _cannot_write(reason, last):
    return (
        f"The run folder cannot be written: {reason}. Make room, or let it be written to, and "
        f"start the same command again to go on from {last}."
    )


def diverged(what, last):
    """Returns the `RunError` for numbers that are not finite.

    Args:
        what: Which, for people.
        last: The last checkpoint before them, for people.
    """
    return RunError(
        f"Training has diverged: {what}. Lower --learning-rate, lengthen --warmup-epochs or set "
        f"--clip-norm, and give another --out; the last checkpoint before it is {last}."
    )
