"""What can cross a link: numbers of 8 to 64 bits that numpy knows by itself."""

from __future__ import annotations

from typing import Any

import numpy as np

DTYPES: dict[str, np.dtype[Any]] = {
    "bool": np.dtype("?"),
    **{f"{kind}int{8 * size}": np.dtype(f"<{kind or 'i'}{size}") for kind in ("", "u") for size in (1, 2, 4, 8)},
    **{f"float{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
}
"""What can cross: name → layout on the wire (little-endian)."""
