"""What `keras-mixers tpu-plan` is made of: chips, the compiled step, and what is read in it."""
