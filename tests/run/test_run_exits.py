"""Networks with exits over the wire: run to one exit, or left as soon as one is sure. The offline rule is the judge."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from run_rig import Told, until

from isthmus.codec import Array
from isthmus.engine import Engine
from isthmus.errors import BadInput, Refused
from isthmus.graph import INPUT, OUTPUT, narrow_cuts
from isthmus.model import digits_test
from isthmus.profile import ExitTable, cascade
from isthmus.profile.exit_measure import measure_exits
from isthmus.profile.samples import Samples
from isthmus.record import Choice
from isthmus.run import Bounds, Server, connect_engine, infer_remote, serve
from isthmus.run.codecs import Codecs
from isthmus.run.desk import Desk
from isthmus.run.early import Early
from isthmus.run.halves import Halves
from isthmus.run.heads import Request, request_header
from isthmus.run.places import Place, Places, place_of
from isthmus.run.work import Leaving

EXITS = ("exit1", "exit2", "exit3")
LOSSY = ("float16", "int8", "int3+huffman")


@pytest.fixture(scope="module")
def far(digits: Engine, table: ExitTable) -> Iterator[Server]:
    with serve(digits, exits=table) as made:
        yield made


def close(found: Array, expected: Array) -> None:
    np.testing.assert_allclose(np.asarray(found, np.float64), np.asarray(expected, np.float64), atol=1e-5)


def part(images: dict[str, Array], start: int, count: int) -> dict[str, Array]:
    return {name: array[start : start + count] for name, array in images.items()}


@pytest.mark.parametrize("output", EXITS)
def test_every_cut_of_every_exit_answers_as_the_whole_does(
    digits: Engine, far: Server, images: dict[str, Array], output: str
) -> None:
    """Also by every codec within its bound, which the verifier holds against the same exit run here alone."""
    inputs = part(images, 0, 2)
    whole = digits.whole(inputs)[output]
    told = Told(INPUT)
    ran = set()
    with connect_engine(digits, far.address, chooser=told, deadline_s=10, verify=True) as session:
        for cut in digits.at_exit(output).cuts:
            for codec in ("float32", *LOSSY):
                told.choice = Choice(cut=cut.id, codec=codec, exit=output)
                answer = session.infer(inputs)
                assert (answer.step.trouble, answer.step.wrong, answer.exit) == ("", False, output)
                assert list(answer.outputs) == [output]
                assert answer.exits == ()
                if codec == "float32":
                    close(answer.outputs[output], whole)
                    assert answer.step.error is not None
                    assert answer.step.error < 1e-5
            ran.add(answer.ran)
    assert ran == {"device", "split", "server"}


def test_the_server_runs_only_what_the_exit_needs(
    digits: Engine, images: dict[str, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sessions of an exit hold its nodes and no others."""
    sizes = []
    for output in EXITS:
        core = digits.at_exit(output)._whole
        sizes.append(len(digits._prepared.core._walk([output], set(digits.graph.inputs), {})[0]))
        assert core.gives == (output,)
    assert sizes[0] < sizes[1] < sizes[2] < digits.core.work_nodes
    monkeypatch.setattr(type(digits), "tail", _forbidden)
    early = Early(Halves(digits), _sure_at_once(digits, images))
    assert list(early.to(None).tail(INPUT, part(images, 0, 4))) == ["exit1"]


def _forbidden(*_: object) -> None:
    raise AssertionError("the whole tail was run")


def _sure_at_once(digits: Engine, images: dict[str, Array]) -> ExitTable:
    table = measure_exits(digits, Samples(images, digits_test()[1]), data="digits")
    first, *others = table.rows
    return table.model_copy(update={"rows": (first.model_copy(update={"threshold": 2.0}), *others)})


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("cut", [INPUT, "relu", "relu_1", "relu_3", "relu_4", "relu_7", "view_2", OUTPUT])
def test_leaving_early_is_the_offline_rule(
    digits: Engine, far: Server, table: ExitTable, images: dict[str, Array], cut: str, batch: int
) -> None:
    """Which exit and which answer, for the test images, whether the device or the server finds them sure."""
    count = 96 if batch == 1 else 449
    whole = digits.whole(part(images, 0, count))
    at = cascade(whole, table.rows)
    ran, mixed = set(), 0
    told = Told(cut)
    with connect_engine(digits, far.address, chooser=told, deadline_s=10, exits=table, verify=True) as session:
        for start in range(0, count, batch):
            answer = session.infer(part(images, start, batch))
            here = at[start : start + batch]
            assert answer.exits == tuple(EXITS[k] for k in here)
            assert answer.exit == EXITS[max(here)]
            assert (answer.step.trouble, answer.step.wrong) == ("", False)
            assert sum(answer.step.exits.values()) == len(here)
            offline = np.stack([whole[EXITS[k]][start + i] for i, k in enumerate(here)])
            close(answer.outputs["exit3"], offline)
            ran.add(answer.ran)
            mixed += len(set(here)) > 1
    assert len(set(at)) == 3
    assert mixed > 10 or batch == 1
    wanted = {INPUT: {"server"}, "relu": {"split"}, OUTPUT: {"device"}}
    assert ran == wanted.get(cut, {"device", "split"})


def test_those_that_left_do_not_travel(digits: Engine, far: Server, table: ExitTable, images: dict[str, Array]) -> None:
    told = Told("relu_1")
    at = cascade(digits.whole(images), table.rows)
    start = next(s for s in range(0, 400, 8) if 0 < (at[s : s + 8] > 0).sum() < 4)
    with connect_engine(digits, far.address, chooser=told, deadline_s=10, exits=table) as session:
        step = session.infer(part(images, start, 8)).step
    one = digits.graph.tensors["relu_1"].bytes
    assert step.up_bytes == one * (at[start : start + 8] > 0).sum() < 8 * one


def test_the_last_exit_that_is_allowed_answers_whatever_comes(
    digits: Engine, far: Server, table: ExitTable, images: dict[str, Array]
) -> None:
    told = Told(INPUT)
    told.choice = Choice(cut="relu", exit="exit2")
    whole = digits.whole(part(images, 0, 64))
    at = np.minimum(cascade(whole, table.rows), 1)
    with connect_engine(digits, far.address, chooser=told, deadline_s=10, exits=table, verify=True) as session:
        answer = session.infer(part(images, 0, 64))
    assert answer.exits == tuple(EXITS[k] for k in at)
    assert list(answer.outputs) == ["exit2"]
    assert answer.step.wrong is False


def unsure(digits: Engine, table: ExitTable, images: dict[str, Array]) -> int:
    """An image that only the last exit is sure of."""
    return int(np.flatnonzero(cascade(digits.whole(images), table.rows) == 2)[0])


def test_without_a_server_the_device_finishes_or_gives_what_it_has(
    digits: Engine, table: ExitTable, images: dict[str, Array]
) -> None:
    inputs = part(images, unsure(digits, table, images), 1)
    told = Told("relu_3")
    with serve(digits, exits=table) as server:
        address = server.address
        session = connect_engine(digits, address, chooser=told, deadline_s=30, exits=table, verify=True)
        assert session.infer(inputs).exit == "exit3"
    with session:
        assert until(lambda: not session.connected)
        answer = session.infer(inputs)
    assert (answer.ran, answer.exit, answer.step.wrong) == ("device", "exit3", False)
    assert answer.step.trouble


def test_an_answer_in_hand_is_given_when_the_next_one_would_be_late(
    digits: Engine, table: ExitTable, images: dict[str, Array]
) -> None:
    """Time stands still but where the test moves it: the first stage takes a second, and so will the others."""
    inputs = part(images, unsure(digits, table, images), 1)
    staged = Early(Halves(digits), table).to(None)
    ticks = itertools.count()
    staged.warm_up(lambda: float(next(ticks)))
    whole = digits.whole(inputs)
    for left_s, answered in ((0.5, "exit1"), (1.5, "exit3")):
        work = Leaving(staged, Choice(cut="relu_3"), inputs, 1, lambda: float(next(ticks)))
        assert work.head() is not None
        work.finish(lambda left_s=left_s: left_s)  # type: ignore[misc]
        assert (work.exit, work.cut_short) == (answered, answered == "exit1")
        close(work.outputs()["exit3"], whole[answered])


def test_with_no_answer_yet_the_device_goes_on_however_late(
    digits: Engine, table: ExitTable, images: dict[str, Array]
) -> None:
    inputs = part(images, unsure(digits, table, images), 1)
    staged = Early(Halves(digits), table).to(None)
    staged.warm_up(time.perf_counter)
    work = Leaving(staged, Choice(cut=INPUT), inputs, 1, time.perf_counter)
    work.finish(lambda: -1.0)
    assert (work.exit, work.cut_short) == ("exit1", True)


def test_a_late_server_leaves_the_answer_so_far(
    digits: Engine, table: ExitTable, images: dict[str, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = part(images, unsure(digits, table, images), 1)
    run = Desk.run

    def slow(*args: object) -> object:
        time.sleep(0.5)
        return run(*args)  # type: ignore[arg-type]

    with (
        serve(digits, exits=table) as server,
        connect_engine(digits, server.address, chooser=Told("relu_3"), deadline_s=0.1, exits=table) as session,
    ):
        monkeypatch.setattr(Desk, "run", slow)
        answer = session.infer(inputs)
    assert (answer.ran, answer.exit) == ("device", "exit1")
    assert answer.step.trouble.endswith("; exit1 had answered by then")
    close(answer.outputs["exit3"], digits.whole(inputs)["exit1"])


def test_both_sides_need_the_same_table(digits: Engine, table: ExitTable, far: Server) -> None:
    first, *others = table.rows
    other = table.model_copy(update={"rows": (first.model_copy(update={"threshold": 0.01}), *others)})
    with pytest.raises(Refused, match=r"holds another table of exits"):
        connect_engine(digits, far.address, chooser=Told(INPUT), exits=other)
    with serve(digits) as bare:
        with pytest.raises(Refused, match=r"holds no table of exits"):
            connect_engine(digits, bare.address, chooser=Told(INPUT), exits=table)
        with connect_engine(digits, bare.address, chooser=Told(INPUT)) as session:
            assert session.connected
    with connect_engine(digits, far.address, chooser=Told(INPUT)) as session:
        assert session.connected


def test_a_table_of_another_model_is_refused(engine: Engine, digits: Engine, table: ExitTable) -> None:
    with pytest.raises(BadInput, match=r"of another model, digits"):
        serve(engine, exits=table)
    strange = table.model_copy(update={"rows": (table.rows[-1].model_copy(update={"output": "exit9"}),)})
    with pytest.raises(BadInput, match=r"no output 'exit9'"):
        serve(digits, exits=strange)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("@input@@exit9", r"has no output 'exit9'"),
        ("@input@~exit9", r"has no exit 'exit9'"),
        ("relu_9@@exit1", r"relu_9"),
        ("@output@@exit1", r"nothing is left to compute"),
        ("@@exit1", r"no tensor ''"),
    ],
)
def test_a_place_that_is_none_is_refused_before_anything_is_made(
    digits: Engine, table: ExitTable, place: str, reason: str
) -> None:
    halves = Halves(digits)
    desk = Desk(Places(halves, Early(halves, table)), Codecs(), Bounds(), time.perf_counter)
    with pytest.raises(Refused, match=reason):
        desk.admit(request_header(Request(place, 1, 0, ())))
    assert not desk._unready


def test_ready_cuts_of_exits_count_as_ready_and_others_are_few(digits: Engine, table: ExitTable) -> None:
    halves = Halves(digits)
    places = Places(halves, Early(halves, table))
    for output in EXITS:
        for cut in digits.at_exit(output).cuts:
            assert cut.id == OUTPUT or places.is_ready(Place(cut.id, output).id)
    assert places.is_ready("relu_1!exit1@~exit3")
    assert not places.is_ready("getitem@@exit1")
    desk = Desk(places, Codecs(), Bounds(unready_cuts=1), time.perf_counter)
    rare = [c.id for c in narrow_cuts(digits.at_exit("exit3").graph) if c.id.startswith("getitem")]
    for cut_id, refused in zip(rare[:2], (False, True), strict=True):
        place = Place(cut_id, "exit3").id
        crossing, _ = Halves(digits.at_exit("exit3")).head(cut_id, digits.model.random_inputs(1))
        heads, payloads = Codecs().dump("float32", crossing)
        header = request_header(Request(place, 1, sum(map(len, payloads)), heads))
        if refused:
            with pytest.raises(Refused, match=r"is not ready here, and 1 others"):
                desk.admit(header)
        else:
            assert desk.admit(header).cut == place


@pytest.mark.parametrize(
    "lie",
    [
        lambda made: {"exit3": made["exit3"]},
        lambda made: {"exit1": made["exit1"], "exit3": made["exit3"]},
        lambda made: {},
        lambda made: {**made, "exit1": made["exit1"][:, :3]},
        lambda made: {**made, "exit1": made["exit1"].astype(np.float64)},
        lambda made: {"exit1": made["exit1"]},
    ],
    ids=["skipped", "gap", "none", "shape", "dtype", "unsure"],
)
def test_only_what_the_stages_could_have_given_is_accepted(
    digits: Engine,
    table: ExitTable,
    images: dict[str, Array],
    monkeypatch: pytest.MonkeyPatch,
    lie: Callable[[dict[str, Array]], dict[str, Array]],
) -> None:
    """And the device answers instead."""
    inputs = part(images, unsure(digits, table, images), 1)
    made = digits.whole(inputs)
    with (
        serve(digits, exits=table) as server,
        connect_engine(digits, server.address, chooser=Told(INPUT), deadline_s=10, exits=table) as session,
    ):
        monkeypatch.setattr(Places, "tail", lambda *_: lie(made))
        answer = session.infer(inputs)
    assert (answer.ran, answer.exit) == ("device", "exit3")
    assert r"the server" in answer.step.trouble


def test_an_exit_that_was_not_asked_for_is_no_answer(
    digits: Engine, far: Server, images: dict[str, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(INPUT)
    told.choice = Choice(cut="relu", exit="exit1")
    with connect_engine(digits, far.address, chooser=told, deadline_s=10) as session:
        monkeypatch.setattr(Places, "tail", lambda *_: {"exit2": np.zeros((1, 10), np.float32)})
        answer = session.infer(part(images, 0, 1))
    assert answer.ran == "device"
    assert answer.step.trouble == "the server sent 1 outputs that are not exit1"


def test_an_exit_that_is_none_raises_here(digits: Engine, far: Server, images: dict[str, Array]) -> None:
    told = Told(INPUT)
    told.choice = Choice(cut=INPUT, exit="exit9")
    with (
        connect_engine(digits, far.address, chooser=told) as session,
        pytest.raises(BadInput, match=r"no output 'exit9'; its outputs are exit1, exit2, exit3"),
    ):
        session.infer(part(images, 0, 1))


def test_where_samples_leave_early_the_device_answers_what_it_would_have_raced_for(
    digits: Engine, far: Server, table: ExitTable, images: dict[str, Array]
) -> None:
    """There is no one answer to race with, and what would be sent beside the device must not be waited for."""
    told = Told(INPUT)
    told.choice = Choice(cut=INPUT, beside=True, give_up_s=5.0)
    with connect_engine(digits, far.address, chooser=told, deadline_s=10, exits=table) as session:
        step = session.infer(part(images, 0, 8)).step
    assert (step.ran, step.cut, step.up_bytes, step.trouble) == ("device", OUTPUT, 0, "")


@pytest.mark.parametrize("mode", ["only_on_device", "prefer_on_server", "private"])
def test_modes_keep_the_exit(
    digits: Engine, far: Server, table: ExitTable, images: dict[str, Array], mode: str
) -> None:
    told = Told(INPUT)
    told.choice = Choice(cut=INPUT if mode == "private" else "relu", exit="exit2")
    for exits in (None, table):
        with connect_engine(digits, far.address, chooser=told, deadline_s=10, mode=mode, exits=exits) as session:  # type: ignore[arg-type]
            answer = session.infer(part(images, 0, 8))
        assert answer.ran == ("server" if mode == "prefer_on_server" else "device")
        assert list(answer.outputs) == ["exit2"]


def test_gathered_callers_get_their_own_exits(
    digits: Engine, far: Server, table: ExitTable, images: dict[str, Array]
) -> None:
    at = cascade(digits.whole(part(images, 0, 24)), table.rows)
    with (
        connect_engine(digits, far.address, chooser=Told("relu_1"), deadline_s=10, exits=table) as session,
        session.batched(8, 60.0) as batcher,
    ):
        futures = [batcher.submit(part(images, i, 1)) for i in range(24)]
        answers = [f.result(20) for f in futures]
    assert [a.exits for a in answers] == [(EXITS[k],) for k in at]
    assert len(set(at)) > 1


def test_the_open_protocol_takes_an_exit_too(digits: Engine, far: Server, images: dict[str, Array]) -> None:
    inputs = part(images, 0, 2)
    found = infer_remote(far.address, "digits", inputs, parameters={"exit": "exit2"})
    close(found["exit2"], digits.whole(inputs)["exit2"])
    assert list(found) == ["exit2"]
    crossing = digits.at_exit("exit2").head("relu_2", inputs)
    found = infer_remote(far.address, "digits", crossing, parameters={"exit": "exit2", "cut": "relu_2"})
    close(found["exit2"], digits.whole(inputs)["exit2"])
    with pytest.raises(Refused, match=r"has no output 'exit9'"):
        infer_remote(far.address, "digits", inputs, parameters={"exit": "exit9"})


def test_places_are_read_as_they_are_written() -> None:
    for place in (Place("a+b"), Place("a!e", "x"), Place(INPUT, "x~", early=True), Place("@input", "x")):
        assert place_of(place.id) == place
