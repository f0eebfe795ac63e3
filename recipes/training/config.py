"""Every setting of a training run, declared once."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Settings of one run. Defaults: the ImageNet recipe of MLP-Mixer's paper, where it has one.

    Paper: https://arxiv.org/abs/2105.01601, section 3 and Table 4.
    """

    epochs: int = 300
    """Passes over the training pictures (Table 4)."""
    batch_size: int = 4096
    """Pictures per step, over all devices together (section 3)."""
    learning_rate: float = 1e-3
    """At the end of the warm-up (Table 4)."""
    warmup_epochs: float = 32.0
    """Of linear rise from 0 (10,000 steps of 4,096 pictures; section 3)."""
    weight_decay: float = 0.1
    """Decoupled, times the learning rate, on kernels only (Table 4)."""
    clip_norm: float = 1.0
    """Largest global norm of the gradient (section 3)."""
    label_smoothing: float = 0.0
    """Share of each label spread over all classes."""
    seed: int = 0
    """Of the initial weights, the order of the pictures, the augmentation and the dropping."""
