"""The one trainer: configuration, data, augmentation, optimisation, the loop, and its pictures."""
