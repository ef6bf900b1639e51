"""Regenerates the message classes of `src/isthmus/run/*.proto`; needs the `dev` extra. `--check` only compares.

grpcio-tools 1.81 is pinned: its code loads on protobuf 6 and 7 alike, and stock clients still ask for protobuf 6.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

SRC = Path(__file__).resolve().parents[1] / "src"
# Named from the root of the sources, so that no other package's file of the same name can collide with ours.
PROTOS = ("isthmus/run/oip.proto", "isthmus/run/split.proto")
MARK = "# ruff: noqa\n# fmt: off\n# mypy: ignore-errors\n"


def compile_into(root: Path) -> list[str]:
    """Writes `*_pb2.py` and `*_pb2.pyi` for every proto below the root, marked as not ours to lint; their paths."""
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{SRC}", f"--python_out={root}", f"--pyi_out={root}"]
    subprocess.run([*command, *PROTOS], check=True)
    made = [f"{p.removesuffix('.proto')}_pb2{ending}" for p in PROTOS for ending in (".py", ".pyi")]
    for path in made:
        (root / path).write_text(MARK + (root / path).read_text())
    return made


def main() -> int:
    if "--check" not in sys.argv[1:]:
        compile_into(SRC)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        stale = [p for p in compile_into(root) if (root / p).read_text() != (SRC / p).read_text()]
    if stale:
        print(f"out of date: {', '.join(stale)}; run scripts/compile_protos.py")
    return len(stale)


if __name__ == "__main__":
    raise SystemExit(main())
