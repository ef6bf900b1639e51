"""A bundle served by one call has all that its clients hold: clips, picture scales, exits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import isthmus
from isthmus.adapt import Fixed
from isthmus.errors import BadInput
from isthmus.graph import INPUT
from isthmus.record import Choice


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("served")
    words = ["pack", "zoo:digits", "--out", str(at / "bundle"), "--picture", "0.5/0.5"]
    words += ["--data", "digits", "--samples", "32", "--runs", "1", "--json"]
    subprocess.run([sys.executable, "-m", "isthmus", *words], capture_output=True, check=True)
    return at / "bundle"


def test_a_client_of_the_same_bundle_is_answered(bundle: Path) -> None:
    opened = isthmus.open_bundle(bundle)
    assert opened.pictures
    assert opened.clips
    assert opened.exits is not None
    choice = Choice(cut=INPUT, codec="int8")
    with (
        isthmus.serve(bundle) as server,
        isthmus.connect(opened, server.address, early=True, deadline_s=30.0) as leaving,
        isthmus.connect(opened, server.address, chooser=Fixed(choice), deadline_s=30.0, verify=True) as session,
    ):
        assert set(server.cuts) >= set(opened.manifest.cuts)
        inputs = opened.model().random_inputs()
        answer = session.infer(inputs)
        assert (answer.ran, answer.codec) == ("server", "int8")
        assert leaving.infer(inputs).outputs


def test_a_host_that_is_not_here_is_one_sentence(bundle: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot serve on port 0 of 192\.0\.2\.1"):
        isthmus.serve(bundle, host="192.0.2.1")
