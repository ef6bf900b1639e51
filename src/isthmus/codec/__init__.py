"""How crossing tensors are written: raw, half, 8 to 2 bits, and pictures for picture inputs."""

from isthmus.codec.half import Half
from isthmus.codec.picture import Picture, PictureScale
from isthmus.codec.planar import PlanarClip, PlanarRange
from isthmus.codec.raw import Raw
from isthmus.codec.table import codec_for, codec_names, make_codec
from isthmus.codec.types import Array, Codec

__all__ = [
    "Array",
    "Codec",
    "Half",
    "Picture",
    "PictureScale",
    "PlanarClip",
    "PlanarRange",
    "Raw",
    "codec_for",
    "codec_names",
    "make_codec",
]
