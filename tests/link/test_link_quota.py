"""Processor quotas: what is written where, on a pretended file system; the real one is in tests/network."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.errors import BadInput, Missing
from isthmus.link.quota import CpuQuota


def folder_of(root: Path) -> Path:
    return next(p for p in root.iterdir() if p.name.startswith("isthmus-"))


def empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def test_control_groups_version_1(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1")
    with CpuQuota(0.5, root=tmp_path) as quota:
        made = folder_of(tmp_path / "cpu")
        assert (made / "cpu.cfs_period_us").read_text() == "5000"
        assert (made / "cpu.cfs_quota_us").read_text() == "2500"
        assert quota.wrap(["true", "a b"])[-2:] == ["true", "a b"]
        empty(made)
    assert not made.exists()


def test_control_groups_version_2_and_quotas_below_the_least(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io")
    quota = CpuQuota(0.1, root=tmp_path)  # 0.5 ms of 5 is below the kernel's 1 ms: 1 of 10 instead
    assert (folder_of(tmp_path) / "cpu.max").read_text() == "1000 10000"
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu"
    empty(quota.folder)
    quota.close()
    quota.close()


def test_no_control_group_is_said(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="no control group"):
        CpuQuota(0.5, root=tmp_path)
    (tmp_path / "cgroup.controllers").write_text("io memory")
    with pytest.raises(Missing, match="no control group"):
        CpuQuota(0.5, root=tmp_path)


def test_absurd_shares_are_refused(tmp_path: Path) -> None:
    for share, period in ((0, 0.005), (-1, 0.005), (0.5, 0), (float("nan"), 0.005)):
        with pytest.raises(BadInput):
            CpuQuota(share, period_s=period, root=tmp_path)
