"""Sets that tensorflow-datasets has prepared, written by the tests themselves."""


def write(data_dir, name, features, examples, shard_size=10, file_format="tfrecord", **about):
    """Writes version 1.0.0 of a set with the split train; returns its folder.

    Args:
        data_dir: `pathlib.Path` of the folder that is to hold the set's.
        name: Of the set.
        features: By key, of tensorflow-datasets' kinds.
        examples: Dicts with a value for each key.
        shard_size: Most examples of a shard.
        file_format: `"tfrecord"` or `"array_record"`.
        about: What else `tfds.core.DatasetInfo` takes.
    """
    import tensorflow_datasets as tfds

    folder = data_dir / name / "1.0.0"
    folder.mkdir(parents=True)
    identity = tfds.core.DatasetIdentity(
        name=name,
        version=tfds.core.Version("1.0.0"),
        data_dir=str(folder),
        module_name="tests",
    )
    info = tfds.core.DatasetInfo(
        builder=identity, features=tfds.features.FeaturesDict(features), **about
    )
    writer = tfds.core.SequentialWriter(info, shard_size, file_format=file_format)
    writer.initialize_splits(["train"])
    for example in examples:
        writer.add_examples({"train": [example]})
    writer.close_all()
    return folder
