"""Markup: nothing that comes in as text can come out as markup, and shortened names stay apart."""

from __future__ import annotations

import doctest
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.report import columns, markup, scale
from isthmus.report.markup import number, shorten, shorten_all, tag


class Reader(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(name)
        self.attributes += attributes

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("module", [markup, scale, columns])
def test_examples_in_the_docstrings_hold(module: object) -> None:
    tests = doctest.DocTestFinder().find(module, extraglobs=vars(module))
    assert any(test.examples for test in tests)
    for test in tests:
        assert doctest.DocTestRunner().run(test).failed == 0


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"])))
def test_any_text_comes_back_as_the_same_text(text: str) -> None:
    seen = Reader(tag("td", text, title=text))
    assert (seen.tags, seen.text, seen.attributes) == (["td"], text, [("title", text)])


@given(st.text())
def test_no_text_makes_an_element(text: str) -> None:
    assert Reader(tag("p", text, class_=text)).tags == ["p"]


def test_markup_is_not_escaped_twice() -> None:
    assert tag("p", tag("b", "a & b")) == "<p><b>a &amp; b</b></p>"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_never_drawn(value: float) -> None:
    with pytest.raises(ValueError, match="cannot be drawn"):
        number(value)


@given(st.text(min_size=1, max_size=80), st.integers(5, 40))
def test_short_names_fit(text: str, most: int) -> None:
    assert len(shorten(text, most)) <= most
    assert shorten(text, most) == text or len(text) > most


@given(st.lists(st.text("ab/.", max_size=60), unique=True, max_size=12), st.integers(12, 30))
def test_short_names_stay_apart(names: list[str], most: int) -> None:
    short = shorten_all(names, most)
    assert len(set(short)) == len(names)
    assert all(len(s) <= most for s in short)
