"""The sizes of a model from the shapes of its weights in a file of another codebase."""

import itertools

from keras_mixers.weights.source import Source

_STEM = "stem/projection/kernel"


class Shapes:
    """Shapes of the weights in a file, by the paths that they have in our model.

    Each is compared with what earlier ones say, so that no model is built that is larger than the
    file.

    Args:
        source: The `keras_mixers.weights.source.Source` of the file.

    Attributes:
        activation: Of the perceptrons in the file's codebase.
    """

    def __init__(self, source: Source) -> None:
        self._shape_of = source.shape_of
        self.activation = source.activation

    def of(self, path: str, *sides: int | None) -> tuple[int, ...]:
        """Returns the shape of a weight, where it has `sides`; None is any but 0.

        Raises:
            ValueError: It has other sides, or there is no such weight.
        """
        shape = self._shape_of(path)
        fits = shape is not None and len(shape) == len(sides) and 0 not in shape
        if not fits or any(side not in (None, its) for side, its in zip(sides, shape, strict=True)):
            wanted = " x ".join("any" if side is None else str(side) for side in sides)
            raise ValueError(
                f"`weights` must hold the weights of one model, with a {path} of {wanted}. "
                "Received: " + (" x ".join(map(str, shape)) if shape else "none")
            )
        return shape

    def count(self, path: str) -> int:
        """Returns for how many numbers from 0 on there is a `path`, in which "{}" stands for it."""
        return next(i for i in itertools.count() if self._shape_of(path.format(i)) is None)

    def stem(self) -> tuple[int, int, int]:
        """Returns the side of the patches, which are square, their channels, and the hidden ones.

        Raises:
            ValueError: There is no stem, or its patches are not square.
        """
        shape = self._shape_of(_STEM)
        side = shape[0] if shape else None
        return self.of(_STEM, side, side, None, None)[1:]

    def head(self, hidden_dim: int) -> dict:
        """Returns the builder's arguments for the head on `hidden_dim` channels, or for none.

        Raises:
            ValueError: It is for another number of channels.
        """
        if self._shape_of("head/kernel") is None:
            return {"include_top": False}
        _, classes = self.of("head/kernel", hidden_dim, None)
        return {"classes": classes, "classifier_activation": None}
