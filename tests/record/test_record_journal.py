"""The journal: what is written is read back, a kill costs one line, and nonsense is named with its line."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import BadInput
from isthmus.record import Evidence, Header, Journal, Seconds, Step, read_journal
from isthmus.record import journal as journal_module

HEADER = Header(model="zoo:tiny", link_trace=((0.0, 1e6), (5.0, 2e7)), cut_order=("@input", "a", "@output"))


def step(number: int = 0, **change: Any) -> Step:
    known: dict[str, Any] = {
        "id": number, "t_s": number / 10, "ran": "split", "cut": "a", "codec": "int8",
        "seconds": Seconds(total=0.1, head=0.06, up=0.04),
    }  # fmt: skip
    return Step(**(known | change))


def written(path: Path, *steps: Step) -> Path:
    with Journal(path, HEADER) as journal:
        for one in steps:
            journal.write(one)
    return path


finite = st.floats(0, 1e6)
maybe = st.none() | st.floats(0, 1e12)


@given(
    steps=st.lists(
        st.builds(
            Step,
            id=st.integers(0, 10**9),
            t_s=finite,
            ran=st.sampled_from(("device", "split", "server")),
            cut=st.text(max_size=12).filter(str.isprintable),
            codec=st.just("int8"),
            seconds=st.builds(Seconds, total=finite, head=finite, lost=finite),
            evidence=st.builds(Evidence, up_bps=maybe),
            trouble=st.sampled_from(("", "late\nagain", "</script>", "\u2028")),
            predicted_s=maybe,
            wrong=st.none() | st.booleans(),
        ),
        max_size=5,
    )
)
def test_reads_back_what_was_written(tmp_path_factory: pytest.TempPathFactory, steps: list[Step]) -> None:
    path = written(tmp_path_factory.mktemp("j") / "run.jsonl", *steps)
    assert read_journal(path) == (HEADER, tuple(steps))


def test_header_stands_alone_and_a_last_line_needs_no_newline(tmp_path: Path) -> None:
    path = written(tmp_path / "run.jsonl", step())
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert read_journal(path)[1] == (step(),)
    assert read_journal(written(tmp_path / "empty.jsonl")) == (HEADER, ())


def test_every_truncation_loses_only_the_line_it_hits(tmp_path: Path) -> None:
    whole = written(tmp_path / "run.jsonl", step(0), step(1)).read_bytes()
    first, second = whole.index(b"\n") + 1, whole.rindex(b"\n", 0, -1) + 1
    cut = tmp_path / "cut.jsonl"
    for size in range(first, len(whole)):
        cut.write_bytes(whole[:size])
        said: list[str] = []
        steps = read_journal(cut, say=said.append)[1]
        complete = (size >= second - 1) + (size >= len(whole) - 1)
        assert steps == (step(0), step(1))[:complete]
        partial = size not in (first, second - 1, second, len(whole) - 1)
        assert [f"line {2 + complete}, the last, was cut short" in s for s in said] == [True] * partial


def test_truncation_is_said_in_the_log_by_default(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path / "run.jsonl", step(0))
    path.write_bytes(path.read_bytes()[:-5])
    read_journal(path)
    assert "cut short" in caplog.text


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"id": 1}\n', "line 3 is not a step: t_s"),
        (b"\n", "line 3 is not a step"),
        (b"not json\n", "line 3 is not a step: Invalid JSON"),
        (b"\xff\xfe\n", "line 3 is not a step"),
        (step().model_dump_json().replace('"total":0.1', '"total":1e999').encode() + b"\n", "line 3.*seconds.total"),
        (step().model_dump_json().replace('"total":0.1', '"total":-1').encode() + b"\n", "line 3.*less than 0 s"),
        (step().model_dump_json().replace('"t_s":0.0', '"t_s":NaN').encode() + b"\n", "line 3.*t_s = nan"),
        (step().model_dump_json().replace('"batch":1', '"batch":"1"').encode() + b"\n", "line 3.*batch"),
        (step().model_dump_json()[:-1].encode() + b',"new":1}\n', "line 3.*new"),
        (b"[" * 100_000 + b"\n", "line 3"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, says: str) -> None:
    path = written(tmp_path / "run.jsonl", step(0))
    path.write_bytes(path.read_bytes() + line + step(1).model_dump_json().encode() + b"\n")
    with pytest.raises(BadInput, match=says):
        read_journal(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b'{"kind":"isthmus-plan"}\n', "line 1 is not a header: kind"),
        (b'{"version":2}\n', "line 1 is not a header: version"),
        (b'{"kind":"isthmus-jour', "line 1 is not a header"),
        (b'{"link_trace":[[1,1],[0,1]]}\n', "line 1.*not before the last"),
        (b'{"link_trace":[[1,-5]]}\n', "line 1.*finite rate"),
    ],
)
def test_a_bad_header_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=says):
        read_journal(path)


def test_absent_file_and_folder_are_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot read"):
        read_journal(tmp_path / "none.jsonl")
    with pytest.raises(BadInput, match="cannot write"):
        Journal(tmp_path / "no" / "such.jsonl")


def test_lines_are_bounded_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "MAX_LINE_BYTES", 2000)
    with Journal(tmp_path / "run.jsonl") as journal, pytest.raises(BadInput, match="above the 2000"):
        journal.write(step(trouble="x" * 2000))
    long = tmp_path / "long.jsonl"
    long.write_bytes(Header().model_dump_json().encode() + b"\n" + b"x" * 5000)
    with pytest.raises(BadInput, match="line 2 is longer than the 2000"):
        read_journal(long)


def test_an_existing_journal_is_kept_unless_told(tmp_path: Path) -> None:
    path = written(tmp_path / "run.jsonl", step(0))
    with pytest.raises(BadInput, match=r"is there already: remove it, or name another$"):
        Journal(path)
    assert len(read_journal(path)[1]) == 1
    Journal(path, replace=True).close()
    assert read_journal(path) == (Header(), ())


def test_nonsense_is_refused_and_optional_infinities_become_null(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with Journal(path) as journal:
        with pytest.raises(BadInput, match=r"step 7 has seconds.up = inf"):
            journal.write(step(7, seconds=Seconds(total=1.0, up=float("inf"))))
        with pytest.raises(BadInput, match="cannot be written"):
            journal.write(step(trouble="\ud800"))
        journal.write(step(8, error=float("inf")))
    assert [s.error for s in read_journal(path)[1]] == [None]
    with pytest.raises(BadInput, match="closed"):
        journal.write(step(9))


def test_threads_never_mix_their_lines(tmp_path: Path) -> None:
    with Journal(tmp_path / "run.jsonl") as journal:

        def hundred(first: int) -> None:
            for i in range(100):
                journal.write(step(first + i))

        work = [threading.Thread(target=hundred, args=(k * 100,)) for k in range(8)]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
    assert sorted(s.id for s in read_journal(journal.path)[1]) == list(range(800))


def test_a_full_disk_leaves_whole_lines_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "run.jsonl")
    journal.write(step(0))

    class Full:
        """Takes half the line, then there is no room; afterwards there is room again."""

        def __init__(self, file: Any) -> None:
            self.file, self.calls = file, 0

        def write(self, data: memoryview) -> int:
            self.calls += 1
            if self.calls == 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return int(self.file.write(data[: len(data) // 2] if self.calls == 1 else data))

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    monkeypatch.setattr(journal, "_file", Full(journal._file))
    with pytest.raises(BadInput, match="No space left"):
        journal.write(step(1))
    said: list[str] = []
    assert (len(read_journal(journal.path, say=said.append)[1]), said) == (1, [])
    journal.write(step(2))
    journal.close()
    assert [s.id for s in read_journal(journal.path)[1]] == [0, 2]


def test_a_pipe_that_nobody_reads_any_more_is_one_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with Journal(tmp_path / "pipe", replace=True) as journal:
        os.close(reader)
        with pytest.raises(BadInput, match="Broken pipe"):
            journal.write(step(0))


def test_a_killed_writer_loses_no_line_that_was_written(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from isthmus.record import Journal, Seconds, Step\n"
        "journal = Journal(sys.argv[1])\n"
        "for i in range(10**6):\n"
        "    journal.write(Step(id=i, t_s=i, ran='device', cut='@output', codec='', seconds=Seconds(total=1)))\n"
        "    print(i, flush=True)\n"
    )
    path = tmp_path / "run.jsonl"
    writer = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    seen = [int(writer.stdout.readline()) for _ in range(50)]
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    steps = read_journal(path, say=lambda _: None)[1]
    assert [s.id for s in steps[:50]] == seen
    assert [s.id for s in steps] == list(range(len(steps)))
