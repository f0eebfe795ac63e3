"""Names of classes, as a user gives them."""

import pathlib

from keras_mixers.errors import UsageError, first_line


def read(text, classes):
    """Returns the names in the file that `--labels` names, in the order of the model's outputs.

    Raises:
        UsageError: It is not a text file with a name for each of `classes`, a line each.
    """
    try:
        names = pathlib.Path(text).expanduser().read_text().removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--labels must be a text file with a class name a line. {first_line(error)}"
        ) from None
    if len(names) != classes:
        raise UsageError(
            f"--labels must be a file with a name for each of the model's {classes} classes, a "
            f"line each. Received: {len(names)} names in {text}"
        )
    return tuple(names)
