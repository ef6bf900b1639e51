"""How crossing tensors are written: raw, half, 8 bits to 1, Huffman-coded or not, and pictures for picture inputs."""

from isthmus.codec.half import Half
from isthmus.codec.head_file import read_head, write_head
from isthmus.codec.huffman import Huffman
from isthmus.codec.picture import Picture, PictureScale
from isthmus.codec.planar import PlanarClip, PlanarRange
from isthmus.codec.raw import RAW, Raw
from isthmus.codec.table import codec_for, codec_names, length_varies, make_codec, picture_names
from isthmus.codec.types import Codec
from isthmus.model.types import Array

__all__ = [
    "RAW",
    "Array",
    "Codec",
    "Half",
    "Huffman",
    "Picture",
    "PictureScale",
    "PlanarClip",
    "PlanarRange",
    "Raw",
    "codec_for",
    "codec_names",
    "length_varies",
    "make_codec",
    "picture_names",
    "read_head",
    "write_head",
]
