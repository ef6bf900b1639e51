"""What this CPU can do that decides how a network is best written for it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_VNNI = frozenset({"avx512_vnni", "avx_vnni"})
_X86 = frozenset({"sse2"})


def vnni_in(flags: frozenset[str]) -> bool:
    """Whether a CPU of these feature flags adds products of bytes without saturating: x86 with VNNI, or no x86."""
    return bool(flags & _VNNI) or not flags & _X86


@cache
def has_vnni(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether products of signed and unsigned bytes are summed exactly here. False where nothing tells."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    line = next((row for row in text.splitlines() if row.lower().startswith(("flags", "features"))), "")
    return bool(line) and vnni_in(frozenset(line.partition(":")[2].split()))
