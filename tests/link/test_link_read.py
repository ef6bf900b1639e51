"""Every trace format, told apart by content; nonsense in one sentence; the real sets when they are here."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from isthmus.errors import BadInput
from isthmus.link import Trace, read_trace, steps


def read(tmp_path: Path, text: str, **how: str) -> Trace:
    file = tmp_path / "some.trace"
    file.write_text(text)
    return read_trace(file, **how)  # type: ignore[arg-type]


def test_columns(tmp_path: Path) -> None:
    trace = read(tmp_path, "# made up\n5.0 1.5\n6.0\t0\n\n9.0 2\n")
    assert trace.times_s.tolist() == [0, 1, 4]  # a gap holds the last value
    assert trace.rates_bps.tolist() == [1.5e6, 0, 2e6]


def test_a_rate_before_the_first_sample_is_not_asked_for_where_that_is_at_the_beginning(tmp_path: Path) -> None:
    file = tmp_path / "some.trace"
    for begin, times, rates in ((0, [0, 1], [1e6, 2e6]), (2, [0, 2, 3], [5e6, 1e6, 2e6])):
        file.write_text(f"{begin} 1\n{begin + 1} 2\n")
        trace = read_trace(file, before_bps=5e6)
        assert (trace.times_s.tolist(), trace.rates_bps.tolist()) == (times, rates)


def test_samples_of_one_moment_are_averaged(tmp_path: Path) -> None:
    assert read(tmp_path, "0 1\n0 3\n1 5\n").rates_bps.tolist() == [2e6, 5e6]


def test_oboe(tmp_path: Path) -> None:
    trace = read(tmp_path, "15.0 3000.0\n474.0 3000.0\n514.0 2000.0\n905.0 2000.0\n1016.0 100.0\n1911.0 100.0\n")
    assert trace.times_s.tolist() == pytest.approx([0, 0.431, 1.437])
    assert trace.rates_bps.tolist() == [3e6, 2e6, 1e5]


def test_columns_that_repeat_their_rates_are_not_oboe(tmp_path: Path) -> None:
    assert read(tmp_path, "0 7.7\n1 7.7\n2 7.8\n3 7.8\n").rates_bps.tolist() == [7.7e6, 7.7e6, 7.8e6, 7.8e6]


@pytest.mark.parametrize("mbps", [5, 150])
def test_a_row_a_minute_is_not_oboe(tmp_path: Path, mbps: int) -> None:
    trace = read(tmp_path, f"0 {mbps}\n60 {mbps}\n120 1\n180 1\n")
    assert trace.times_s.tolist() == [0, 60, 120, 180]
    assert trace.rates_bps.tolist() == [mbps * 1e6, mbps * 1e6, 1e6, 1e6]


def test_mahimahi(tmp_path: Path) -> None:
    stamps = [*range(1, 101), *range(110, 210, 10)]  # 12 Mbit/s for 100 ms, then 1.2
    trace = read(tmp_path, "\n".join(map(str, stamps)) + "\n")
    assert trace.rates_bps.tolist() == pytest.approx([12e6, 1.2e6])
    assert trace.bits_between(0, 0.2) == pytest.approx(110 * 1500 * 8)


@pytest.mark.parametrize(
    ("stamps", "mbps", "duration_s"),
    [
        ([1], [12], 0.1),  # the usual constant rate
        ([1, 1], [24], 0.1),
        ([2, 5, 7, 10, 12], [5], 0.108),
        ([*range(1, 1051)], [12] * 10, 1.05),
        ([*range(10, 111, 10), 111], [12 * 12 / 111], 0.111),
    ],
)
def test_mahimahi_ends_with_its_last_stamp_and_begins_again(
    tmp_path: Path, stamps: list[int], mbps: list[float], duration_s: float
) -> None:
    trace = read(tmp_path, "".join(f"{stamp}\n" for stamp in stamps))
    assert trace.duration_s == pytest.approx(duration_s)
    assert (trace.rates_bps / 1e6).tolist() == pytest.approx(mbps)


def test_csv_with_a_date_has_a_row_a_second(tmp_path: Path) -> None:
    text = "Timestamp,UL_bitrate,DL_bitrate\n2019.12.14_10.16.30,1,700\n2019.12.14_10.16.30,1,800\n"
    assert read(tmp_path, text).rates_bps.tolist() == [7e5, 8e5]
    assert read(tmp_path, text, rate_column="UL_bitrate").rates_bps.tolist() == [1e3, 1e3]


def test_csv_with_units_in_the_header(tmp_path: Path) -> None:
    trace = read(tmp_path, "time_ms,carrier,rate_mbps\n100,a,2.5\n350,b,5\n")
    assert trace.times_s.tolist() == [0, 0.25]
    assert trace.rates_bps.tolist() == [2.5e6, 5e6]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("# only a comment\n", "empty"),
        ("hello world\n", "none of the trace formats"),
        ("0 1\n1 -2\n", "line 2: '-2' is negative"),
        ("0 1\n1 nan\n", "line 2: 'nan' is not a finite number"),
        ("0 1\n1 inf\n", "not a finite number"),
        ("0 1\n2 1\n1 1\n", "time runs backwards at sample 3"),
        ("0 1\n1\n", "none of the trace formats"),
        ("t_s,colour\n0,red\n", "looks like a rate"),
        ("t_s,mbps\n0,1\n1\n", "line 3: '' is not a finite number"),
        ("t_s,mbps\n", "no samples"),
        ("0 1e12\n", "1e\\+13"),
        ("5\n3\n", "never fall"),
        ("0\n0\n", "last millisecond must be above 0"),
        ("99999999999999\n", "long"),
        ("9" * 400 + "\n", "line 1: '9{40}…' is not a finite number"),
        ("1\n²\n", "line 2: '²' is not a finite number"),
        ("t_s,mbps\n0," + "1" * 200_000 + "\n1,2\n", r"field larger than field limit \(131072\)"),
        ("0 " + "9" * 5_000_000 + "\n", "line 1: '9{40}…' is not a finite number"),
        ("x" * 70_000 + ",y\n1,2\n", "no column of x{200}… looks like a rate"),
    ],
)
def test_nonsense_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert "some.trace" in str(caught.value)


def test_a_format_by_name_is_kept_to(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="odd number"):
        read(tmp_path, "0 1\n1 1\n2 1\n", format="oboe")
    with pytest.raises(BadInput, match="no trace format"):
        read(tmp_path, "0 1\n", format="pcap")
    with pytest.raises(BadInput, match="no column 'up'"):
        read(tmp_path, "t_s,mbps\n0,1\n", rate_column="up")


def test_files_that_are_no_text_missing_or_huge(
    tmp_path: Path, piped: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="not text"):
        read_trace(tmp_path / "bytes")
    with pytest.raises(BadInput, match="No such file"):
        read_trace(tmp_path / "absent")
    monkeypatch.setattr("isthmus.link.read.MAX_FILE_BYTES", 2)
    for path in (tmp_path / "bytes", piped(b"0 1\n")):
        with pytest.raises(BadInput, match="more than 2 bytes"):
            read_trace(path)


def test_steps_refuse_nonsense() -> None:
    for text in ("", "20Mbit", "20Mbit:0s", "fast:1s", "20Mbit:1s,"):
        with pytest.raises(BadInput):
            steps(text)


@pytest.mark.parametrize(
    ("folder", "files", "mean_mbps", "hours"),
    [
        ("ghent_4g", 26, 29.82, 3.46),
        ("hsr_4g", 22, 8.08, 1.78),
        ("wifi_solis", 54, 21.25, 3.00),
        ("oboe", 300, 2.80, 14.83),
        ("irish_5g", 14, 41.39, 8.30),
        ("nyc_4g", 13, 11.77, 7.48),
        ("us_5g_iperf_uplink", 14, 51.88, 4.34),
    ],
)
def test_real_sets_have_the_means_that_are_known(folder: str, files: int, mean_mbps: float, hours: float) -> None:
    root = os.environ.get("ISTHMUS_DATA")
    if not root or not (Path(root) / "traces" / folder).is_dir():
        pytest.skip("ISTHMUS_DATA with its traces is not set")
    traces = [read_trace(file) for file in sorted((Path(root) / "traces" / folder).iterdir())]
    total_s = sum(trace.duration_s for trace in traces)
    assert len(traces) == files
    assert total_s / 3600 == pytest.approx(hours, rel=0.015)
    mean = sum(trace.mean_bps * trace.duration_s for trace in traces) / total_s
    assert mean / 1e6 == pytest.approx(mean_mbps, rel=0.01)
