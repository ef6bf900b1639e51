"""A run as one self-contained HTML page. Reads journals and plans only; needs no network, no script, no extra."""

from __future__ import annotations

from isthmus.report.write import report, write_report

__all__ = ["report", "write_report"]
