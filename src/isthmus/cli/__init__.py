"""The command line: one verb a file. `main` is what `isthmus` runs."""

from __future__ import annotations

from isthmus.cli.entry import main

__all__ = ["main"]
