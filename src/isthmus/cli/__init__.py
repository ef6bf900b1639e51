"""The command line: one verb a file. `main` is what `isthmus` runs."""

from __future__ import annotations

from isthmus.cli.app import main

__all__ = ["main"]
