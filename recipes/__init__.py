"""What a person runs to train: short scripts over `recipes.training`."""
