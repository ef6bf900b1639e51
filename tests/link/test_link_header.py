"""Headers of CSV traces: units read whole, b as bits and B as bytes; what is not known is refused, never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.errors import BadInput
from isthmus.link import Trace, read_trace


def read(tmp_path: Path, text: str) -> Trace:
    file = tmp_path / "some.csv"
    file.write_text(text)
    return read_trace(file)


@pytest.mark.parametrize(
    ("name", "unit_bps"),
    [
        ("throughput_gbps", 1e9),
        ("rate_gbit", 1e9),
        ("Throughput (Mb/s)", 1e6),
        ("bandwidth_MB/s", 8e6),
        ("throughput_MBps", 8e6),
        ("Download [kByte/s]", 8e3),
        ("bits/s", 1),
        ("Bit rate (kbps)", 1e3),
        ("mbps_ul", 1e6),
        ("bitrate/Mbps", 1e6),
        ("dlThroughput", 1e3),
        ("throughput_UL", 1e3),
    ],
)
def test_the_unit_of_a_rate(tmp_path: Path, name: str, unit_bps: float) -> None:
    assert read(tmp_path, f"t_s,{name}\n0,1.5\n1,2\n").rates_bps.tolist() == [1.5 * unit_bps, 2 * unit_bps]


@pytest.mark.parametrize(
    ("name", "unit_s"),
    [
        ("Time (s)", 1),
        ("timestamp_s", 1),
        ("timestampMs", 1e-3),
        ("elapsed_time_ms", 1e-3),
        ("time_us", 1e-6),
        ("unix_time", 1),
        ("seconds", 1),
    ],
)
def test_the_unit_of_a_clock(tmp_path: Path, name: str, unit_s: float) -> None:
    trace = read(tmp_path, f"{name},mbps\n5,1\n10,2\n20,3\n")
    assert trace.times_s.tolist() == pytest.approx([0, 5 * unit_s, 15 * unit_s])


def test_a_clock_beside_a_date_is_read(tmp_path: Path) -> None:
    trace = read(tmp_path, "timestamp,time_s,mbps\n10:16:30,0,1\n10:16:35,5,2\n")
    assert trace.times_s.tolist() == [0, 5]


def test_a_rate_of_something_else_is_none_of_a_link(tmp_path: Path) -> None:
    assert read(tmp_path, "t_s,frame_rate,ul_bitrate\n0,30,1000\n1,30,2000\n").rates_bps.tolist() == [1e6, 2e6]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("t_s,throughput_MBPS\n0,1\n", "the unit of its column 'throughput_MBPS' is not known"),
        ("t_s,rate_furlongs\n0,1\n", "the unit of its column 'rate_furlongs' is not known"),
        ("t_s,frame_rate\n0,1\n", "looks like a rate"),
        ("Time (min),mbps\n0,1\n", "the unit of its clock 'Time \\(min\\)' is not known"),
        ("timestamp,dl_bitrate\n1449140000000,1\n1449140001000,2\n", "1.44914e\\+12 s: write seconds, or"),
    ],
)
def test_what_is_not_known_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        read(tmp_path, text)
    assert "some.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("header", "rows", "times", "rates"),
    [
        ("time_since_last_ms,time_s,rate_mbps", ("5,0,1", "5,1,2"), [0, 1], [1e6, 2e6]),
        ("ts_offset_ms,timestamp,rate_mbps", ("5,0,1", "5,2,2"), [0, 2], [1e6, 2e6]),
        ("time_zone,time_s,rate_mbps", ("1,0,1", "1,3,2"), [0, 3], [1e6, 2e6]),
        ("TIME_S,THROUGHPUT_MBPS", ("0,1", "1,2"), [0, 1], [1e6, 2e6]),
        ("TIME_MS,DL_BITRATE_KBPS", ("0,1", "1000,2"), [0, 1], [1e3, 2e3]),
        ("time_s,uplink_mbps,downlink_mbps", ("0,9,1", "1,9,2"), [0, 1], [1e6, 2e6]),
        ("time_s,Bandwidth(MHz),DL_bitrate", ("0,20,1", "1,20,2"), [0, 1], [1e3, 2e3]),
    ],
)
def test_the_column_that_says_most_is_taken(
    tmp_path: Path, header: str, rows: tuple[str, ...], times: list[float], rates: list[float]
) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("\n".join((header, *rows)))
    found = read_trace(path)
    assert (found.times_s.tolist(), found.rates_bps.tolist()) == (times, rates)
