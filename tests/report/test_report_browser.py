"""The page in a real browser: it draws, in the colours it promises, asks the network for nothing and complains of
nothing."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from report_runs import HEADER, changing_run, plan_at, steady_run
from test_report_markup import Reader

from isthmus.record import Journal
from isthmus.report import style, write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path to look at the page with"),
]


def browse(page: Path, folder: Path, *flags: str) -> tuple[bytes, list[str]]:
    """What the browser printed, and what the page made it complain of."""
    assert CHROMIUM is not None
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", *flags, page.as_uri()]
    done = subprocess.run(
        command, capture_output=True, timeout=120, check=True, env={**os.environ, "HOME": str(folder)}
    )
    return done.stdout, [line for line in done.stderr.decode(errors="replace").splitlines() if "CONSOLE" in line]


def colours(page: Path, folder: Path, *flags: str) -> Counter[str]:
    """Pixels of each exact colour on the first 1,200 by 2,400 of the page."""
    image = pytest.importorskip("PIL.Image", reason="pixels are read with pillow")
    shot = folder / "shot.png"
    browse(page, folder, f"--screenshot={shot}", "--window-size=1200,2400", *flags)
    picture = image.open(io.BytesIO(shot.read_bytes())).convert("RGB")
    assert picture.size == (1200, 2400)
    return Counter({f"#{r:02x}{g:02x}{b:02x}": count for count, (r, g, b) in picture.getcolors(1 << 24)})


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    evil = "<script>alert(1)</script><img src=http://127.0.0.1:9/x>"
    with Journal(folder / "run.jsonl", HEADER) as journal:
        for step in [*changing_run(), steady_run(1, id=10**6, t_s=52.0, cut=evil, trouble=evil)[0]]:
            journal.write(step)
    return write_report([folder / "run.jsonl"], folder / "page.html", plan=plan_at(6e6))


def test_every_chart_is_in_the_document_and_nothing_is_asked_of_the_network(page: Path, tmp_path: Path) -> None:
    dom, complaints = browse(page, tmp_path, "--dump-dom")
    seen = Reader(dom.decode())
    assert complaints == []
    assert seen.tags.count("svg") == 4
    assert seen.tags.count("script") == 1
    assert "img" not in seen.tags
    assert seen.tags.count("rect") > 500
    assert "What the plan expected" in seen.text


def test_a_page_that_does_reach_out_would_be_caught(page: Path, tmp_path: Path) -> None:
    worse = tmp_path / "worse.html"
    worse.write_text(page.read_text().replace("</main>", '<img src="http://127.0.0.1:9/x.png"></main>'))
    complaints = browse(worse, tmp_path, "--dump-dom")[1]
    assert any("Content Security Policy" in line for line in complaints)


def test_light_and_dark_are_drawn_in_their_own_colours(page: Path, tmp_path: Path) -> None:
    light = colours(page, tmp_path)
    dark = colours(page, tmp_path, "--blink-settings=preferredColorScheme=0")
    for pixels, palette, ink in ((light, style.LIGHT, style.LIGHT_INK), (dark, style.DARK, style.DARK_INK)):
        assert pixels.most_common(1)[0][0] in (ink["card"], ink["page"])
        assert all(pixels[palette[cause]] > 2000 for cause in ("head", "up", "tail", "local"))
        assert all(pixels[palette[cause]] > 50 for cause in ("encode", "down", "lost", "queue", "decode", "rest"))
    assert light[style.DARK_INK["card"]] < 100


def test_a_phone_needs_no_sideways_scrolling_of_the_page(page: Path, tmp_path: Path) -> None:
    probe = tmp_path / "phone.html"
    frame = f'<iframe id="f" src="{page.as_uri()}" width="360" height="900"></iframe>'
    script = (
        "onload=()=>{const d=document.getElementById('f').contentDocument.documentElement;"
        "document.title='width '+d.scrollWidth}"
    )
    probe.write_text(f"<title>?</title>{frame}<script>{script}</script>")
    dom = browse(probe, tmp_path, "--dump-dom", "--allow-file-access-from-files")[0].decode()
    assert "<title>width 360</title>" in dom or "<title>width 345</title>" in dom, dom[:200]
