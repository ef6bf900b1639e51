"""The page itself: a verdict in words, headline numbers, the charts, and the numbers behind them. One file, no script,
nothing fetched: its content policy forbids both, whatever a model or a cut is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isthmus.plan.types import Plan
from isthmus.record import Header, Step, Summary
from isthmus.report.chart import Chart
from isthmus.report.columns import RAN, columns_of
from isthmus.report.distribution import foresight, latency_shares
from isthmus.report.markup import Markup, join, tag
from isthmus.report.order import name_of
from isthmus.report.plan_bars import plan_bars
from isthmus.report.scale import label_share, label_time
from isthmus.report.style import STYLE
from isthmus.report.timeline import timeline
from isthmus.units import show_bytes, show_seconds
from isthmus.version import __version__

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True)
class Run:
    """One journal as the page shows it."""

    name: str
    header: Header
    steps: tuple[Step, ...]
    summary: Summary
    notes: tuple[str, ...] = ()


def page(runs: Sequence[Run], title: str, plan: Plan | None = None, cut_order: Sequence[str] = ()) -> str:
    """The whole page as text. Several runs stand one below the other, compared in a table at the top."""
    body = [tag("h1", title)]
    if len(runs) > 1:
        body.append(_comparison(runs))
    for run in runs:
        body += [tag("h2", run.name)] if len(runs) > 1 else []
        body += _section(run, plan, cut_order)
    if plan is not None:
        body.append(figure(plan_bars(plan), wide=True))
    body.append(
        tag("footer", f"Made by isthmus {__version__}. This page stands alone: it loads nothing and runs nothing.")
    )
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("title", title),
        tag("style", Markup(STYLE)),
    ]
    data = join(_embedded(run, i) for i, run in enumerate(runs))
    return f'<!DOCTYPE html>\n<html lang="en">{tag("head", *head)}{tag("body", tag("main", *body), data)}</html>\n'


def figure(chart: Chart, *, wide: bool = False) -> Markup:
    """A chart as a card: title, legend, picture, notes, and its numbers in a table that folds out."""
    keys = [tag("li", tag("i", class_=k.css), k.name, tag("span", k.value)) for k in chart.keys]
    return tag(
        "section",
        tag("h3", chart.title),
        tag("p", chart.about, class_="about"),
        tag("ul", *keys, class_="keys") if keys else "",
        tag("div", chart.svg, class_="scroll"),
        _list(chart.notes),
        _numbers(chart),
        class_="card wide" if wide else "card",
    )


def verdict(summary: Summary) -> str:
    """The run in two sentences."""
    if not summary.requests:
        return "The journal holds no request."
    lost = "No answer was lost"
    if summary.lost:
        lost = f"{_many(summary.lost, 'answer')} {'was' if summary.lost == 1 else 'were'} lost"
    if summary.wrong:
        right = f"{summary.wrong} of {summary.verified} verified answers were wrong"
    elif summary.verified and summary.verified == summary.answered:
        right = "every answer was verified against the whole model"
    else:
        right = f"all {summary.verified} verified were right" if summary.verified else "none was verified"
    parts = [f"{_many(summary.requests, 'request')} in {_long(summary.span_s)}. {lost}, {right}."]
    places = _many(len(summary.cuts_used), "place")
    moved = f"changed {_many(summary.switches, 'time')}" if summary.switches else "never changed"
    parts.append(f"Inference ran at {places} and the choice {moved}.")
    if summary.fallbacks:
        parts.append(f"{_many(summary.fallbacks, 'request')} fell back when something went wrong.")
    return " ".join(parts)


def _section(run: Run, plan: Plan | None, cut_order: Sequence[str]) -> list[Markup]:
    columns = columns_of(run.steps, run.header.link_trace)
    planned = tuple(c.cuts[0] for c in plan.candidates if len(c.cuts) == 1) if plan else ()
    order = cut_order or run.header.cut_order or tuple(dict.fromkeys(planned))
    return [
        _facts(run.header),
        tag("p", verdict(run.summary), class_="verdict"),
        _tiles(run.summary),
        _list(run.notes),
        figure(timeline(columns, run.header.link_trace, order), wide=True),
        _where(run.summary),
        _exits(run.summary),
        tag(
            "div",
            figure(latency_shares(columns)),
            figure(foresight(columns, run.summary.prediction_error)),
            class_="pair",
        ),
        _troubles(run.summary),
    ]


def _facts(header: Header) -> Markup:
    named = ("model", "device", "server", "link", "started")
    facts = [(word, getattr(header, word)) for word in named]
    return tag("p", " · ".join(f"{word}: {value}" for word, value in facts if value), class_="facts")


def _tiles(s: Summary) -> Markup:
    checked = f"of {s.verified:,} verified" if s.verified else "none verified"
    tiles = [
        _tile(f"{s.answered:,}", f"answered of {s.requests:,}", "good" if s.answered == s.requests else "bad"),
        _tile(f"{s.lost:,}", "lost", "bad" if s.lost else "good"),
        _tile(f"{s.wrong:,}", f"wrong, {checked}", "bad" if s.wrong else "good" if s.verified else ""),
        _tile(_seconds(s.p50_s), "median latency"),
        _tile(_seconds(s.p99_s), "99% answered within"),
        _tile(f"{s.switches:,}", f"changes of place, {_many(len(s.cuts_used), 'place')}"),
        _tile(f"{s.fallbacks:,}", "fell back"),
        _tile(show_bytes(s.up_bytes / s.answered) if s.answered else "–", "sent up per request"),
        _tile(_percent(s.prediction_error), "median error of the latency foreseen"),
        _tile(_percent(s.estimate_error), "median error of the rate believed"),
    ]
    return tag("div", *tiles, class_="tiles")


def _tile(value: str, label: str, css: str = "") -> Markup:
    return tag("div", tag("b", value), tag("span", label), class_=f"tile {css}".strip())


def _where(s: Summary) -> Markup:
    """The table of where it ran, under a bar of the shares."""
    if not s.places:
        return Markup("")
    share = [
        tag("div", class_=f"p-{ran}", style=f"flex-grow:{s.ran[ran]}", title=f"{ran}: {s.ran[ran]}")
        for ran in ("device", "split", "server")
        if s.ran[ran]
    ]
    keys = [tag("li", tag("i", class_=f"p-{ran}"), ran, tag("span", str(s.ran[ran]))) for ran in s.ran if s.ran[ran]]
    rows = [
        tag(
            "tr",
            tag("td", tag("i", class_=f"p-{p.ran}"), name_of(p.cut), class_="name"),
            *(tag("td", cell) for cell in (
                p.ran, p.codec, str(p.requests), f"{p.share:.1%}", show_seconds(p.p50_s), show_seconds(p.p99_s),
                show_bytes(p.up_bytes / p.requests), show_bytes(p.down_bytes / p.requests), show_bytes(p.up_bytes),
            )),
        )
        for p in s.places
    ]  # fmt: skip
    names = ("cut", "ran", "codec", "requests", "share", "median", "p99", "up each", "down each", "up in all")
    head = tag("thead", tag("tr", *(tag("th", n) for n in names)))
    return tag(
        "section",
        tag("h3", "Where it ran"),
        tag("ul", *keys, class_="keys"),
        tag("div", *share, class_="share"),
        tag("div", tag("table", head, tag("tbody", *rows)), class_="scroll"),
        class_="card",
    )


def _exits(s: Summary) -> Markup:
    """Which exit answered how many samples, where the network was not always run to its end."""
    if not s.exits:
        return Markup("")
    rows = [
        tag(
            "tr",
            tag("td", use.exit, class_="name"),
            *(
                tag("td", cell)
                for cell in (str(use.samples), f"{use.share:.1%}", show_seconds(use.p50_s), show_seconds(use.p99_s))
            ),
        )
        for use in s.exits
    ]
    head = tag("thead", tag("tr", *(tag("th", n) for n in ("exit", "samples", "share", "median", "p99"))))
    table = tag("div", tag("table", head, tag("tbody", *rows)), class_="scroll")
    return tag("section", tag("h3", "Which exit answered"), table, class_="card")


def _troubles(s: Summary) -> Markup:
    if not s.troubles:
        return Markup("")
    rows = [tag("tr", tag("td", words, class_="name"), tag("td", str(count))) for words, count in s.troubles.items()]
    table = tag(
        "table", tag("thead", tag("tr", tag("th", "what went wrong"), tag("th", "requests"))), tag("tbody", *rows)
    )
    return tag("section", tag("h3", "Troubles"), tag("div", table, class_="scroll"), class_="card")


def _comparison(runs: Sequence[Run]) -> Markup:
    names = ("run", "requests", "lost", "wrong", "median", "p99", *RAN, "fell back", "up in all")
    rows = []
    for run in runs:
        s = run.summary
        cells = (str(s.requests), str(s.lost), str(s.wrong), _seconds(s.p50_s), _seconds(s.p99_s),
                 str(s.ran["device"]), str(s.ran["split"]), str(s.ran["server"]), str(s.fallbacks),
                 show_bytes(s.up_bytes))  # fmt: skip
        rows.append(tag("tr", tag("td", run.name, class_="name"), *(tag("td", c) for c in cells)))
    table = tag("table", tag("thead", tag("tr", *(tag("th", n) for n in names))), tag("tbody", *rows))
    return tag("section", tag("div", table, class_="scroll"), class_="card")


def _numbers(chart: Chart) -> Markup:
    if not chart.rows:
        return Markup("")
    head = tag("thead", tag("tr", *(tag("th", c) for c in chart.columns)))
    body = tag("tbody", *(tag("tr", *(tag("td", cell) for cell in row)) for row in chart.rows))
    return tag("details", tag("summary", "The numbers"), tag("div", tag("table", head, body), class_="scroll"))


def _list(notes: Sequence[str]) -> Markup:
    return tag("ul", *(tag("li", n) for n in notes), class_="notes") if notes else Markup("")


def _embedded(run: Run, index: int) -> Markup:
    """The summary as data; `<` is written as an escape, so that no text in it can end the element."""
    text = run.summary.model_dump_json().replace("<", "\\u003c").replace("\u2028", "\\u2028")
    return tag("script", Markup(text), type="application/json", id=f"summary-{index}")


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def _seconds(value: float | None) -> str:
    return "–" if value is None else show_seconds(value)


def _long(span_s: float) -> str:
    return label_time(round(span_s)) if span_s >= 60 else show_seconds(span_s)


def _percent(value: float | None) -> str:
    return "–" if value is None else label_share(value)
