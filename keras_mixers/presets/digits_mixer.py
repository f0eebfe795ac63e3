"""A small MLP-Mixer on large digits over photographs, which benchmarks/jpeg_digits.py writes.

Expected: more than 90 % top-1 in less than 15 minutes on two CPU cores; what it printed is in
recipes/README.md. Source: ours; a small task to see everything at work.

  python benchmarks/jpeg_digits.py runs/jpeg_digits
  keras-mixers imagenet --recipe digits_mixer --data runs/jpeg_digits/folder
"""

from keras_mixers.training.config import TrainingConfig

CONFIG = TrainingConfig(
    model="MLPMixer",
    model_options=(
        "patch_size=8",
        "hidden_dim=128",
        "num_blocks=4",
        "tokens_mlp_dim=64",
        "channels_mlp_dim=256",
    ),
    image_size=64,
    drop_path_rate=0.0,
    crop_min_area=0.8,
    flip=False,  # Other digits.
    randaugment="none",
    mixup=0.0,
    label_smoothing=0.1,
    eval_crop=1.0,
    epochs=6,
    batch_size=64,
    loss="softmax",
    head_bias=0.0,
    learning_rate=2e-3,
    final_learning_rate=0.0,
    schedule="cosine",
    warmup_epochs=1.0,
    weight_decay=0.05,
    ema_decay=0.99,
    log_steps=20,
    checkpoint_minutes=1.0,
)
