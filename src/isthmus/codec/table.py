"""Names to codecs: the one place that knows them all."""

from __future__ import annotations

import difflib

from isthmus.codec.half import Half
from isthmus.codec.huffman import SUFFIX, WHOLE_FROM, Huffman
from isthmus.codec.picture import Picture, PictureScale
from isthmus.codec.planar import PlanarClip, PlanarRange
from isthmus.codec.raw import RAW, Raw
from isthmus.codec.types import Codec
from isthmus.errors import BadInput
from isthmus.quant import ChannelClip

_PLANAR = {"int8": 8, "int6": 6, "int4": 4, "int3": 3, "int2": 2}
"""Those that are tried unless others are asked for."""
_WIDTHS = {f"int{bits}": bits for bits in range(8, 0, -1)}
_PICTURES = ("jpeg", "webp")


def codec_names() -> tuple[str, ...]:
    """The usual codecs for any float32 tensor, dearest first. Other widths down to 1 bit have names too (`int5`), every
    width a Huffman-coded form (`int4+huffman`), and picture inputs `jpeg:Q` and `webp:Q`, Q 1…100."""
    return (RAW, "float16", *_PLANAR)


def length_varies(name: str) -> bool:
    """Does what this codec writes take more or fewer bytes by what is written? `payload_bytes` is then what to expect.

    >>> length_varies("jpeg:75"), length_varies("int4+huffman"), length_varies("int4")
    (True, True, False)
    """
    return ":" in name or name.endswith(SUFFIX)


def picture_names() -> tuple[str, ...]:
    """The uploads as a picture that plans compare with where nobody asks for others."""
    return ("jpeg:50", "jpeg:75", "jpeg:90", "jpeg:95", "webp:50", "webp:75", "webp:90")


def make_codec(name: str, clip: ChannelClip | None = None, picture: PictureScale | None = None) -> Codec:
    """The codec of this name, for float32 tensors (use `codec_for` where the dtype is not known to be float32).

    `clip` is used by int8 … int1 (without it they measure and send the range of each tensor), `picture` by pictures;
    others ignore them, so that a cut's calibration can be handed to whatever codec was chosen.
    Raises BadInput for an unknown name.
    """
    if name == RAW:
        return Raw()
    if name == "float16":
        return Half()
    width, coded = name.removesuffix(SUFFIX), name.endswith(SUFFIX)
    if width in _WIDTHS:
        bits = _WIDTHS[width]
        whole = coded and bits >= WHOLE_FROM
        planar = PlanarRange(bits, whole) if clip is None else PlanarClip(bits, clip, whole=whole)
        return Huffman(planar) if coded else planar
    format_, _, quality = name.partition(":")
    if format_ in _PICTURES and quality.isascii() and quality.isdigit() and len(quality) <= 3:
        return Picture(format_, int(quality), picture)
    known = (*codec_names(), "int4+huffman", "jpeg:75", "webp:80")
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
    raise BadInput(f"there is no codec '{name[:40]}'; nearest is {nearest}, known are {', '.join(known)}")


def codec_for(name: str, dtype: str, clip: ChannelClip | None = None, picture: PictureScale | None = None) -> Codec:
    """The codec that a tensor of this dtype crosses with where `name` was chosen: raw unless it is float32.

    Both ends call this, so a cut of mixed dtypes needs one codec name. Raises BadInput for an unknown name.
    """
    chosen = make_codec(name, clip, picture)
    return chosen if dtype == "float32" else Raw()
