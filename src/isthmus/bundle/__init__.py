"""The folder that is deployed: model, profiles, plan, hashes. `pack` runs the engine and stands in its own module."""

from isthmus.bundle.folder import Bundle, open_bundle
from isthmus.bundle.types import Clips, FewBitsRow, FileEntry, Manifest, PartRow, PictureRow, SplitCheck

__all__ = [
    "Bundle",
    "Clips",
    "FewBitsRow",
    "FileEntry",
    "Manifest",
    "PartRow",
    "PictureRow",
    "SplitCheck",
    "open_bundle",
]
