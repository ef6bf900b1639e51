"""Every benchmark, one after the other on a machine that should be quiet: its question, its figures.

With `--json FILE` the figures go to one file too.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--only", help="part of a name")
    options = parser.parse_args()
    found = {}
    for script in sorted(HERE.glob("*.py")):
        if not asks(script) or (options.only or "") not in script.name:
            continue
        print(f"\n== {script.stem}: {question(script)}", flush=True)
        ran = subprocess.run([sys.executable, str(script), "--json"], capture_output=True, text=True, check=False)
        if ran.returncode:
            print((ran.stderr.strip().splitlines() or ["failed"])[-1])
            continue
        found[script.stem] = json.loads(ran.stdout.strip().splitlines()[-1])
        print(json.dumps(found[script.stem], indent=1)[:4000])
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


def asks(script: Path) -> bool:
    """Whether it is a benchmark, which prints its figures with --json, and no part of one."""
    return script.name != Path(__file__).name and 'add_argument("--json"' in script.read_text(encoding="utf-8")


def question(script: Path) -> str:
    """The first line of what the script says of itself."""
    return (ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or "").splitlines()[0]


if __name__ == "__main__":
    main()
