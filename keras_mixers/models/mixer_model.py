"""The model class that every constructor returns."""

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

import keras

if TYPE_CHECKING:
    from keras_mixers.preprocessing import Preprocessing
    from keras_mixers.weights.names import Naming


class Block(NamedTuple):
    """A block of a model.

    Attributes:
        layers: Its layers, in order; the first block of a later stage begins with what leads to
            that stage.
        roles: Name of each of its layers within the block, such as "token_mixing".
    """

    layers: tuple[keras.layers.Layer, ...]
    roles: tuple[str, ...]

    @property
    def output(self) -> keras.KerasTensor:
        """The tensor that the next block takes, `(batch, height, width, channels)`."""
        return self.layers[-1].output


class Stage(NamedTuple):
    """Blocks that work on feature maps of one size.

    Attributes:
        blocks: Its `Block`s, in order.
        reduction: Pixels of the image per position of its feature maps, in each direction.
    """

    blocks: tuple[Block, ...]
    reduction: int

    @property
    def output(self) -> keras.KerasTensor:
        """The last feature map of the stage, `(batch, height, width, channels)`."""
        return self.blocks[-1].output


@keras.saving.register_keras_serializable(package="keras_mixers")
class MixerModel(keras.Model):
    """A functional `keras.Model` that knows its preprocessing, its blocks and its stages.

    Constructors such as `keras_mixers.MLPMixerB16` return it, and so do
    `keras.models.load_model`, `keras.models.clone_model` and `keras_mixers.resize`. What it knows
    stands in the config of its first layer, `keras_mixers.preprocessing.ImagePreprocessing`.

    Args:
        inputs: As of `keras.Model`.
        outputs: As of `keras.Model`.
        name: As of `keras.Model`.
    """

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(inputs, outputs, name=name, **kwargs)

    # Keras' own, which look at the first images: those that are scaled already get a line.

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        data = kwargs.get("validation_data")
        if isinstance(data, tuple | list) and data:  # Images and labels.
            self._looked_at(data[0])
        elif data is not None:
            kwargs["validation_data"] = self._looked_at(data)
        return super().fit(self._looked_at(x), *args, **kwargs)

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        return super().evaluate(self._looked_at(x), *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        return super().predict(self._looked_at(x), *args, **kwargs)

    def train_on_batch(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        return super().train_on_batch(self._looked_at(x), *args, **kwargs)

    def test_on_batch(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        return super().test_on_batch(self._looked_at(x), *args, **kwargs)

    def predict_on_batch(self, x: Any) -> Any:
        return super().predict_on_batch(self._looked_at(x))

    @property
    def preprocessing(self) -> "Preprocessing":
        """The `keras_mixers.preprocessing.Preprocessing` of its images."""
        return self._first.preprocessing

    @property
    def includes_preprocessing(self) -> bool:
        """Whether it takes pixels of 0 to 255 and scales them itself."""
        return self._first.scales

    @property
    def family(self) -> str:
        """Name of the family, such as "mlp_mixer"."""
        return self._architecture["family"]

    @property
    def namings(self) -> "tuple[Naming, ...]":
        """What other codebases call its weights: `keras_mixers.weights.names.Naming`s."""
        from keras_mixers import models
        from keras_mixers.models import family

        models.import_families()  # Nothing that a file names is imported.
        return getattr(family.of(self), "namings", ())

    @property
    def stem(self) -> tuple[keras.layers.Layer, ...]:
        """The layers before the first block, without that of the preprocessing."""
        return self._named("stem")

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Its `Block`s, in order."""
        parts = zip(self._architecture["blocks"], self._architecture["roles"], strict=True)
        blocks = (Block(self._layers_of(names), tuple(roles)) for names, roles in parts)
        # A model of inner features has only the layers that lead to them.
        return tuple(block for block in blocks if len(block.layers) == len(block.roles))

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Its `Stage`s, in order."""
        blocks, stages = self.blocks, []
        for depth in self._architecture["depths"]:
            if len(blocks) >= depth:
                reduction = self._architecture["reductions"][len(stages)]
                stages.append(Stage(blocks[:depth], reduction))
            blocks = blocks[depth:]
        return tuple(stages)

    @property
    def final_norm(self) -> tuple[keras.layers.Layer, ...]:
        """The layers between the last block and the pooling; none in some families."""
        return self._named("final_norm")

    @property
    def head(self) -> keras.layers.Layer | None:
        """The classifier, or None where the model was built without its top."""
        return next(iter(self._named("head")), None)

    @property
    def pyramid_outputs(self) -> dict[str, keras.KerasTensor]:
        """`{"P2": tensor, ...}`: the last feature map of each stage, by the level of its size.

        Level n has one position for 2^n x 2^n pixels; keras-hub reads it. The norm before the head
        is left out. Stages of other sizes, as those of patches of 14, have no level.
        """
        return {
            f"P{stage.reduction.bit_length() - 1}": stage.output
            for stage in self.stages
            if stage.reduction.bit_count() == 1
        }

    @property
    def pyramid_level_inputs(self) -> dict[str, str]:
        """`{"P2": layer name, ...}`, of the same feature maps; keras-cv reads it."""
        return {
            f"P{stage.reduction.bit_length() - 1}": stage.blocks[-1].layers[-1].name
            for stage in self.stages
            if stage.reduction.bit_count() == 1
        }

    def features(
        self, stages: Sequence[int] | int | None = None, blocks: Sequence[int] | int | None = None
    ) -> "MixerModel":
        """Returns a model of the same layers whose outputs are inner feature maps.

        Args:
            stages: Numbers of stages, or one, from 0; negative ones count from the last.
            blocks: Numbers of blocks, in the same way. Without any, all stages are taken.

        Returns:
            A `MixerModel` whose output is a dict from "stage_0", "block_3" and so on to feature
            maps `(batch, height, width, channels)`.

        Raises:
            ValueError: There is no such stage or block.
        """
        if stages is None and blocks is None:
            stages = range(len(self.stages))
        outputs = {}
        for kind, chosen, parts in (
            ("stage", stages, self.stages),
            ("block", blocks, self.blocks),
        ):
            for number in _places(f"{kind}s", chosen, len(parts)):
                outputs[f"{kind}_{number}"] = parts[number].output
        if not outputs:
            raise ValueError("`stages` or `blocks` must name at least one. Received: none")
        return MixerModel(self.input, outputs, name=f"{self.name}_features")

    def preprocess(self, images: Any) -> Any:
        """Returns images as this model takes them, cropped and resized, and scaled if need be.

        Args:
            images: As of a call of `keras_mixers.preprocessing.Preprocessing`.
        """
        channels = self.input_shape[-1]
        pixels = self.preprocessing.pixels(images, channels)
        if pixels.shape[-1] != channels:
            raise ValueError(
                f"`images` must have {channels} channels on the last axis, as the model's do. "
                f"Received: {pixels.shape[-1]} channels"
            )
        return pixels if self.includes_preprocessing else self.preprocessing.scale(pixels)

    def _looked_at(self, images):
        from keras_mixers.preprocessing import ImagePreprocessing, scaled_already

        first = [layer for layer in self.layers if isinstance(layer, ImagePreprocessing)]
        if not first or not first[0].scales:
            return images
        return scaled_already.with_a_look(images, first[0].look_at)

    @property
    def _first(self):
        from keras_mixers.preprocessing import ImagePreprocessing

        for layer in self.layers:
            if isinstance(layer, ImagePreprocessing):
                return layer
        raise AttributeError(
            "The model must have the layer ImagePreprocessing, where a MixerModel keeps what it "
            f"knows: build it by a constructor, or take keras.Model. Received: {self.name!r}"
        )

    @property
    def _architecture(self):
        architecture = self._first.architecture
        if architecture is None:
            raise AttributeError(
                "The model must know its blocks and stages: build it by a constructor. "
                f"Received: {self.name!r}, whose ImagePreprocessing has no architecture"
            )
        return architecture

    def _named(self, part):
        return self._layers_of(self._architecture[part])

    def _layers_of(self, names):
        by_name = {layer.name: layer for layer in self.layers}
        return tuple(by_name[name] for name in names if name in by_name)


def _places(argument, chosen, count):
    """Returns numbers from 0 of the parts that a user chose: some, one, or None."""
    if chosen is None:
        return []
    numbers = list(chosen) if isinstance(chosen, Iterable) else [chosen]
    for number in numbers:
        whole = isinstance(number, Integral) and not isinstance(number, bool)
        if not whole or not -count <= number < count:
            raise ValueError(
                f"`{argument}` must be whole numbers from {-count} to {count - 1}. "
                f"Received: {argument}={tuple(numbers)}"
            )
    return [int(number) % count for number in numbers]
