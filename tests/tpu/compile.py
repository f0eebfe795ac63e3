"""Plans of small models: python -m tests.tpu.compile BACKEND RUN ...

A RUN is a number of `RUNS`, or "too-large".
"""

import sys

from keras_mixers.commands import tpu_plan

# Maps of 128 MiB on each chip, which do not stay in its vector memory.
IMAGES = 4096
COMMON = ("--topology", "v5e:2x2", "--image-size", "64", "--classes", "16")
COMMON += ("--batch-size", str(4 * IMAGES))
MODELS = {
    "MLPMixer": dict(
        patch_size=8, hidden_dim=256, num_blocks=1, tokens_mlp_dim=128, channels_mlp_dim=1024
    ),
    "S2MLP": dict(patch_size=8, hidden_dim=256, num_blocks=1, channels_mlp_dim=1024),
    "SMLPNet": dict(patch_size=8, hidden_dim=256, depths=(1,)),
}
# What is compiled: a model and more flags. Where a batch comes in parts, the same is counted.
RUNS = (
    ("MLPMixer", "--gradient-accumulation-steps", "2", "--batch-size", str(2 * 4 * IMAGES)),
    ("S2MLP",),
    ("S2MLP", "--remat"),
    ("SMLPNet",),
)


def main(backend, *numbers):
    for number in numbers:
        model, *flags = RUNS[-1 if number == "too-large" else int(number)]
        given = [f"{name}={value}".replace(" ", "") for name, value in MODELS[model].items()]
        command = ["--backend", backend, "--model", model, "--model-options", *given, *COMMON]
        command += flags
        if number == "too-large":
            command += ["--batch-size", str(1 << 20)]
        status = tpu_plan.main([*command, "--json"])
        if status != (number == "too-large"):
            sys.exit(status or 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
