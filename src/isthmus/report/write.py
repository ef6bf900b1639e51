"""The verb: journals in, one HTML page out. Reads journals and plans, nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from isthmus.errors import BadInput
from isthmus.files import read_json, write_whole
from isthmus.plan.types import Plan
from isthmus.record import Header, Step, read_journal, summarise
from isthmus.report.page import Run, page


def report(
    journal_path: str | os.PathLike[str],
    out_path: str | os.PathLike[str],
    plan_path: str | os.PathLike[str] | None = None,
) -> Path:
    """Reads one journal (and the plan it followed, where given) and writes the page about it.

    Raises BadInput for a file that cannot be read, written or meant.
    """
    plan = None if plan_path is None else read_json(Path(plan_path), Plan)
    return write_report([Path(journal_path)], out_path, plan=plan)


def write_report(
    source: Sequence[str | os.PathLike[str]] | Sequence[Step],
    out: str | os.PathLike[str],
    *,
    plan: Plan | None = None,
    title: str | None = None,
    requests: int | None = None,
    cut_order: Sequence[str] = (),
) -> Path:
    """Writes one self-contained HTML page about one or several runs.

    Args:
        source: paths of journals, or the steps of one run; nothing is an empty run.
        out: where the page goes; its folder is made, a page that is there already is replaced as a whole.
        plan: adds the price of every cut that was considered.
        title: default: the model's name.
        requests: how many were sent, to count the lost; for a single run only.
        cut_order: cut ids from input to output; default: the header's, the plan's, or a guess by head time.

    Raises:
        BadInput: a journal or a step that makes no sense, a path that cannot be read or written, a plan for another
            network.
    """
    paths = [os.fspath(one) for one in source if not isinstance(one, Step)]
    steps = tuple(one for one in source if isinstance(one, Step))
    if paths and steps:
        raise BadInput("a report is made from paths of journals or from steps, not from both at once")
    if requests is not None and len(paths) > 1:
        raise BadInput(f"requests={requests} counts one run, but {len(paths)} journals were given")
    runs = [_run(Path(path), requests) for path in paths] or [_made("steps", Header(), steps, requests)]
    for run in runs:
        if plan is not None and plan.fingerprint and run.header.fingerprint not in ("", plan.fingerprint):
            raise BadInput(f"{run.name} is of another network than the plan, which is for {plan.model}")
    models = dict.fromkeys(run.header.model for run in runs if run.header.model)
    words = title or " and ".join(models) or (plan.model if plan else "") or "A run of isthmus"
    write_whole(Path(out), page(runs, words, plan, cut_order).encode())
    return Path(out)


def _run(path: Path, requests: int | None) -> Run:
    notes: list[str] = []
    header, steps = read_journal(path, say=notes.append)
    return _made(path.name, header, steps, requests, tuple(notes))


def _made(name: str, header: Header, steps: tuple[Step, ...], requests: int | None, notes: tuple[str, ...] = ()) -> Run:
    return Run(name, header, steps, summarise(steps, requests=requests, link_trace=header.link_trace), notes)
