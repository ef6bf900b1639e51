"""Makes the files of examples/plate_camera importable, as they are for each other."""

from __future__ import annotations

import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "plate_camera"
if str(EXAMPLE) not in sys.path:
    sys.path.insert(0, str(EXAMPLE))
