"""The live replays as tables: for people, and one for the documentation with a column a cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Cells = dict[str, Any]
SHORT = {"efficientnet_b0": "B0", "mobilenet_v2": "MobileNetV2", "ghent_4g": "Ghent", "us_5g_iperf_uplink": "5G uplink"}


def show(cells: Cells) -> None:
    """Tables for people."""
    for name, one in cells.items():
        facts = ", ".join(f"{k} {one[k]:.2f}" for k in ("tie_mbit", "rtt_ms", "fixed_ms", "device_now", "server_now"))
        print(f"{name}: {facts}")
        if "lags" in one:
            print(f"  requests wrong after a step: {one['lags']}")
            continue
        print(
            f"  {one['file']} × {one['scale']:.4f}, from {one['start_s']:.0f} s, {one['mean_mbit']:.2f} Mbit/s on "
            f"average, {one['changes']} changes"
        )
        for policy, row in one["policies"].items():
            print(
                f"    {policy:16} {row['requests']:4} requests  mean {row['mean_ms']:7.1f} ms  p99 "
                f"{row['p99_ms']:7.1f}  simulated/real {row['simulated_over_real']:.3f}  device "
                f"{row['device_now']:.3f}  {row['cuts']}"
            )
        causes = ", ".join(f"{cause} {ms:+.1f} ms" for cause, ms in one["lost_ms"].items())
        print(
            f"    regret {one['regret']:+.1%} (priced {one['regret_priced']:+.1%}, as it went "
            f"{one['regret_as_it_went']:+.1%}, choices {one['regret_of_choices']:+.1%}; {causes}), "
            f"gain {one['gain']:+.1%} over {one['best_static']} ({one['gain_without_jpeg']:+.1%} without JPEG), "
            f"decision {one['decision_us']['warm_us']:.0f} µs ({one['decision_us']['cpu_us']:.0f} µs after a pause)"
        )


def markdown(cells: Cells) -> str:
    """Every trace's cell, and a line for each network's steps."""
    played = {name: one for name, one in cells.items() if "policies" in one}
    rows = [["", *(_named(name) for name in played), "target"], ["---"] * (len(played) + 2)]
    for title, target, shown in _ROWS:
        rows.append([title, *(shown(one) for one in played.values()), target])
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([table, "", *(_lags(name, one) for name, one in cells.items() if "lags" in one)]) + "\n"


def _named(cell: str) -> str:
    return ", ".join(SHORT.get(part, part) for part in cell.split("/"))


def _policy(name: str) -> Callable[[Any], str]:
    def shown(one: Any) -> str:
        row = one["policies"][name]
        return f"{row['mean_ms']:.1f} ms" + ("" if row["whole_part"] else " (a third)")

    return shown


def _bottleneck(one: Any) -> str:
    found = {n: row["mean_ms"] for n, row in one["policies"].items() if n.startswith("cut:")}
    best = min(found, key=lambda n: found[n])
    return f"{best.removeprefix('cut:')}, {_policy(best)(one)}"


def _percent(key: str) -> Callable[[Any], str]:
    return lambda one: f"{100 * one[key]:+.1f} %".replace("-", "−")


def _lost(cause: str) -> Callable[[Any], str]:
    return lambda one: f"{one['lost_ms'][cause]:+.1f} ms".replace("-", "−")


_ROWS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("file, from second", "", lambda one: f"{one['file'].partition('.')[0]}, {one['start_s']:.0f}"),
    ("scale, mean rate", "", lambda one: f"{one['scale']:.3f}, {one['mean_mbit']:.1f} Mbit/s"),
    ("dynamic, mean over time (median of the replays)", "", _policy("dynamic")),
    ("clairvoyant, as it ran", "", _policy("clairvoyant")),
    ("device only", "", _policy("device")),
    ("server, JPEG", "", _policy("server/jpeg")),
    ("server, raw", "", _policy("server")),
    ("best bottleneck that never changes", "", _bottleneck),
    ("regret, both as they ran", "≤ 5 %", _percent("regret")),
    ("the same, of the means of all replays", "", _percent("regret_of_means")),
    ("of it where both chose alike", "", _lost("same_choice")),
    ("of it where dynamic sent less", "", _lost("sent_less")),
    ("of it where dynamic sent more", "", _lost("sent_more")),
    ("regret against the clairvoyant as priced", "", _percent("regret_priced")),
    ("the same, machines as fast as in that very replay", "", _percent("regret_as_it_went")),
    ("the same, of its choices alone", "", _percent("regret_of_choices")),
    ("best that never changes", "", lambda one: str(one["best_static"])),
    ("gain over it", "≥ 10 %", _percent("gain")),
    ("simulated over real mean, dynamic", "within 10 %", lambda one: f"{one['simulated_dynamic']:.2f}"),
    ("the same, worst of all policies", "", lambda one: f"{one['worst_simulated']:.2f} off"),
    (
        "decision, warm / after the pause between requests",
        "≤ 50 µs",
        lambda one: f"{one['decision_us']['warm_us']:.0f} / {one['decision_us']['cpu_us']:.0f} µs",
    ),
)


def _lags(name: str, one: Any) -> str:
    wrong = ", ".join(f"{row['requests_wrong']} (to {row['to_mbit']:.1f} Mbit/s)" for row in one["lags"])
    return f"{_named(name)}: requests until the choice is right {wrong}."
