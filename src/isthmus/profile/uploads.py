"""What sending a network's input as a picture takes, and what it does to it, measured on samples."""

from __future__ import annotations

import numpy as np

from isthmus.codec import PictureScale, make_codec, picture_names
from isthmus.errors import Missing
from isthmus.profile.samples import Samples
from isthmus.quant import Upload


def measure_uploads(samples: Samples, picture: PictureScale) -> dict[str, Upload]:
    """Codec (the usual ones for pictures) → mean square error of an element and bytes of a sample. Nothing for inputs
    that are no pictures: several, of other dtypes or shapes, or other channels than `picture` tells of; nor without
    Pillow."""
    (values, *more) = samples.inputs.values()
    if more or values.dtype != np.float32 or values.ndim != 4 or values.shape[1] != len(picture.mean):
        return {}
    found = {}
    for name in picture_names():
        codec, lost, size = make_codec(name, picture=picture), 0.0, 0
        for one in np.split(values, len(values)):
            try:
                payload = memoryview(codec.dump(one))
                apart = np.subtract(codec.load(payload, one.shape, "float32"), one)
            except Missing:
                return {}
            size += payload.nbytes
            lost += float(np.square(apart, dtype=np.float64).sum())
        found[name] = Upload(error=lost / values.size, sample_bytes=size / len(values))
    return found
