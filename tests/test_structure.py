"""The shape of the project: imports point one way, heavy libraries stay where they belong, public names exist."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "isthmus"
ORDER = [
    "version", "errors", "units", "files", "own", "model", "graph", "quant", "codec", "engine", "profile", "link",
    "plan", "bundle", "record", "run", "adapt", "simulate", "report", "session", "demo", "cli", "__main__",
]  # fmt: skip
"""The path of the data; a package imports only what stands to its left."""
STRANGERS = {
    ("adapt", "run"),
    ("report", "run"),
    ("report", "adapt"),
    ("run", "adapt"),
    ("simulate", "run"),
    ("simulate", "engine"),
}
"""Neighbours that must not know each other although the order would let them."""
OWNERS = {"onnxruntime": {"engine"}, "grpc": {"run"}, "torch": {"model"}, "rich": {"cli"}, "typer": {"cli"}}
"""The only packages that may import a heavy library, or one that draws in a terminal."""
LIGHT = [
    "isthmus",
    "isthmus.plan",
    "isthmus.link",
    "isthmus.adapt",
    "isthmus.report",
    "isthmus.record",
    "isthmus.graph",
    "isthmus.simulate",
]
HEAVY = ["torch", "onnxruntime", "grpc", "matplotlib", "PIL", "rich", "typer"]


def modules() -> list[Path]:
    return sorted(p for p in SOURCE.rglob("*.py") if not p.name.endswith("_pb2.py"))


def part_of(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def our_parts(names: set[str]) -> set[str]:
    return {n.split(".")[1] for n in names if n.startswith("isthmus.")} & set(ORDER)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_left_only(path: Path) -> None:
    here = part_of(path)
    if here == "__init__":
        return
    assert here in ORDER, f"{here} has no place in the order"
    for other in our_parts(imported(path)) - {here}:
        assert ORDER.index(other) < ORDER.index(here), (
            f"{path.name} in {here} imports {other}, which stands to its right"
        )
        assert (here, other) not in STRANGERS, f"{here} must not know {other}"


@pytest.mark.parametrize("library", sorted(OWNERS))
def test_heavy_libraries_are_imported_by_their_owner_only(library: str) -> None:
    users = {part_of(p) for p in modules() if any(n.split(".")[0] == library for n in imported(p))}
    assert users <= OWNERS[library]


@pytest.mark.parametrize("module", LIGHT)
def test_planning_and_reading_need_no_heavy_library(module: str) -> None:
    code = f"import sys, {module}; print(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


@pytest.mark.parametrize("package", [p for p in ORDER if (SOURCE / p / "__init__.py").exists()])
def test_every_package_declares_its_public_names_and_has_them(package: str) -> None:
    module = import_module(f"isthmus.{package}")
    assert module.__doc__
    names = list(module.__all__)
    assert len(names) == len(set(names))
    for name in names:
        assert hasattr(module, name), f"isthmus.{package} promises {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_files_stay_small_and_say_what_they_are(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    assert ast.get_docstring(ast.parse(text)), f"{path.name} does not say what it is"


def test_nothing_is_unpickled_or_evaluated() -> None:
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec", "compile"), f"{path.name} evaluates"
        assert not imported(path) & {"pickle", "marshal", "shelve", "dill", "cloudpickle"}, f"{path.name} unpickles"
