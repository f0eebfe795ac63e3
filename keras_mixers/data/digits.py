"""The 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn."""

from keras_mixers import extras

CLASSES = tuple("0123456789")


def load():
    """Returns the training, validation and test split, each `(images, labels)`.

    Always the same split, stratified by class: 1,257, 180 and 360 images. Images are float32 of
    shape `(images, 8, 8, 1)`, pixels from 0 (paper) to 255 (ink).

    Raises:
        UsageError: scikit-learn is not installed.
    """
    extras.require("--data digits", ("sklearn",))
    import sklearn.datasets
    from sklearn.model_selection import train_test_split

    digits = sklearn.datasets.load_digits()
    images = (digits.images * (255 / 16)).astype("float32")[..., None]
    images, test_images, labels, test_labels = train_test_split(
        images, digits.target, test_size=360, stratify=digits.target, random_state=0
    )
    images, validation_images, labels, validation_labels = train_test_split(
        images, labels, test_size=180, stratify=labels, random_state=0
    )
    return (images, labels), (validation_images, validation_labels), (test_images, test_labels)
