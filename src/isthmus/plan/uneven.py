"""A problem whose links and machines are as late now and then as a run showed them to be."""

from __future__ import annotations

from dataclasses import replace

from isthmus.plan.types import Problem


def uneven(problem: Problem, *, link: float | None, device: float | None, server: float | None) -> Problem:
    """One exchange in ten takes `link` longer (a share), one run in ten of the machine at home `device`, of the others
    `server`; None: as the problem has it. Profiles that spread more keep their own spread.

    Raises BadInput for a share below zero.
    """
    late = [device if j == problem.home else server for j in range(len(problem.machines))]
    machines = tuple(
        m if share is None else replace(m, late=share) for m, share in zip(problem.machines, late, strict=True)
    )
    links = problem.links if link is None else tuple(replace(hop, late=link) for hop in problem.links)
    return replace(problem, machines=machines, links=links)
