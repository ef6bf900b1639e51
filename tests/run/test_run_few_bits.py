"""Few bits on the device: the levels cross, answers are those that were promised, and none is lost quietly."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from few_bits_rig import Rig

from isthmus.adapt import Fixed
from isthmus.bundle import Bundle, open_bundle
from isthmus.codec import Array, codec_for
from isthmus.engine import Engine, FewBits, PackedParts
from isthmus.errors import BadBundle, BadInput, Remote, Unreachable
from isthmus.graph import INPUT, OUTPUT
from isthmus.plan import Plan
from isthmus.quant import BitPlan, quantised_head
from isthmus.record import Choice, Step
from isthmus.run import Bounds, Mode, Server, serve
from isthmus.run.halves import Halves
from isthmus.session import connect, ready, table_of

CUT, CODEC = "relu_2", "int4"


class Steps:
    def __init__(self) -> None:
        self.all: list[Step] = []

    def write(self, step: Step) -> None:
        self.all.append(step)


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Rig()


@pytest.fixture(scope="module")
def roomy(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The device has a whole network too."""
    plan = rig.plan(CUT, CODEC, rig.bits(relu_2=4))
    return rig.packed(plan, tmp_path_factory.mktemp("roomy") / "bundle", whole=rig.bits(8, 8))


@pytest.fixture(scope="module")
def tight(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """It has no room for one."""
    plan = rig.plan(CUT, CODEC, rig.bits(relu_2=4))
    return rig.packed(plan, tmp_path_factory.mktemp("tight") / "bundle", whole=None)


def served(rig: Rig, bundle: Bundle, port: int = 0, bounds: Bounds | None = None) -> Server:
    return serve(rig.engine, bundle.manifest.name, port=port, clips=bundle.clips, bounds=bounds or Bounds())


@pytest.fixture
def server(rig: Rig, roomy: Bundle) -> Iterator[Server]:
    with served(rig, roomy) as made:
        yield made


def pictures(rig: Rig, count: int) -> dict[str, Array]:
    return dict(rig.samples.part(0, count).inputs)


def apart(a: Array, b: Array) -> float:
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max())


def slowly(rig: Rig, inputs: dict[str, Array]) -> dict[str, Array]:
    """The answer of tail(load(dump(quantised head))), each step by itself."""
    head = quantised_head(rig.net, (CUT,), rig.bits(relu_2=4), rig.tables)
    made = Engine.open(head.model, cuts="none").whole(inputs)  # from the graph as it was made, not from its file
    crossing = np.asarray(head.restored(made)[CUT], np.float32)
    codec = codec_for(CODEC, "float32", head.steps[CUT].clip)
    sent = codec.load(memoryview(codec.dump(crossing)), crossing.shape, "float32")
    assert apart(sent, crossing) <= 1e-6
    return rig.engine.tail(CUT, {CUT: sent})


def test_what_comes_over_the_wire_is_what_was_promised(rig: Rig, roomy: Bundle, server: Server) -> None:
    steps, inputs = Steps(), pictures(rig, 5)
    chooser = Fixed(Choice(cut=CUT, codec=CODEC))
    with connect(roomy, server.address, chooser=chooser, journal=steps, verify=True) as session:
        answer = session.infer(inputs)
    assert answer.ran == "split"
    for name, wanted in slowly(rig, inputs).items():
        assert apart(answer.outputs[name], wanted) <= 1e-4
    assert steps.all[-1].wrong is False
    assert steps.all[-1].error is not None
    assert steps.all[-1].error > 1e-3, "the difference from the whole network in floating point"
    assert answer.step.up_bytes == 5 * 32 * 4 * 4 // 2


def test_an_answer_that_is_not_the_promised_one_is_called_wrong(
    rig: Rig, roomy: Bundle, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, steps, inputs = ready(roomy), Steps(), pictures(rig, 1)
    true = here.engine.head(CUT, inputs)
    chooser = Fixed(Choice(cut=CUT, codec=CODEC))
    with connect(here, server.address, chooser=chooser, journal=steps, verify=True) as session:
        monkeypatch.setattr(here.engine, "head", lambda *_: {**true, CUT: np.zeros_like(true[CUT])})
        session.infer(inputs)
    assert steps.all[-1].wrong is True


def test_two_tensors_of_different_widths_cross_at_theirs(rig: Rig, tmp_path: Path) -> None:
    cut, bits = rig.two_widths()
    bundle = rig.packed(rig.plan(cut, "int4", bits), tmp_path / "bundle", whole=None)
    assert bundle.manifest.few_bits is not None
    assert bundle.manifest.few_bits.written == {"int4": {"view": "int6"}}
    with served(rig, bundle) as there:
        chooser = Fixed(Choice(cut=cut, codec="int4"))
        steps = Steps()
        with connect(bundle, there.address, chooser=chooser, journal=steps, verify=True) as session:
            session.infer(pictures(rig, 1))
    assert steps.all[-1].wrong is False
    assert steps.all[-1].up_bytes == 32 * 16 // 2 + 12 * 6 // 8


def test_a_server_killed_on_the_way_costs_no_answer_where_the_device_has_a_whole_network(
    rig: Rig, roomy: Bundle
) -> None:
    there = served(rig, roomy)
    steps, inputs = Steps(), pictures(rig, 2)
    chooser = Fixed(Choice(cut=CUT, codec=CODEC))
    whole = ready(roomy).engine.whole(inputs)
    with connect(roomy, there.address, chooser=chooser, journal=steps, deadline_s=3, verify=True) as session:
        assert session.infer(inputs).ran == "split"
        there.stop()
        answers = [session.infer(inputs) for _ in range(3)]
    assert [a.ran for a in answers] == ["device"] * 3
    for name, wanted in whole.items():
        np.testing.assert_array_equal(answers[-1].outputs[name], wanted)
    assert not any(step.wrong for step in steps.all)


def test_without_one_a_request_waits_and_ends_in_one_clear_error(rig: Rig, tight: Bundle) -> None:
    there = served(rig, tight)
    port = int(there.address.rpartition(":")[2])
    chooser = Fixed(Choice(cut=CUT, codec=CODEC))
    with connect(tight, there.address, chooser=chooser, deadline_s=0.6) as session:
        assert session.infer(pictures(rig, 1)).ran == "split"
        there.stop()
        begun = time.perf_counter()
        with pytest.raises(Remote, match=r"no answer within 0.6 s .* no whole network to finish with: the request is"):
            session.infer(pictures(rig, 1))
        assert time.perf_counter() - begun > 0.5, "it waited for the server"
        with served(rig, tight, port), pytest.MonkeyPatch.context() as patch:
            patch.setattr(session, "_deadline_s", 10.0)
            assert session.infer(pictures(rig, 1)).ran == "split"


def test_without_one_a_request_that_is_too_large_is_refused_as_that(rig: Rig, tight: Bundle) -> None:
    there, chooser = served(rig, tight, bounds=Bounds(batch=2)), Fixed(Choice(cut=CUT, codec=CODEC))
    with connect(tight, there.address, chooser=chooser, deadline_s=3) as session:
        with pytest.raises(BadInput, match=r"^the server takes batches of up to 2, not 3$"):
            session.infer(pictures(rig, 3))
        assert session.infer(pictures(rig, 2)).ran == "split"


def test_no_mode_asks_the_device_for_what_it_does_not_have(tight: Bundle) -> None:
    modes: tuple[Mode, ...] = ("only_on_device", "prefer_on_device")
    for mode in modes:
        with pytest.raises(BadInput, match=r"needs a whole network on this device"):
            connect(tight, "127.0.0.1:1", mode=mode)
    here = ready(tight).engine
    with pytest.raises(BadInput, match=r"memory holds no whole digits"):
        here.whole(here.model.random_inputs(1))


def test_the_chooser_has_what_is_there_and_no_more(roomy: Bundle, tight: Bundle) -> None:
    assert set(table_of(roomy).cuts) == {INPUT, CUT, OUTPUT}
    assert set(table_of(tight).cuts) == {INPUT, CUT}
    with pytest.raises(BadInput, match=r"leave the exit and --server-first out"):
        table_of(roomy, exit_at="exit1")


def test_the_device_part_costs_what_it_took_when_packed(roomy: Bundle) -> None:
    row = roomy.manifest.few_bits
    assert row is not None
    assert row.head is not None
    table = table_of(roomy)
    at = table.cuts.index(CUT)
    plain = roomy.device.typical_s(roomy.device.batches[1].heads[CUT])
    assert table.device_s[at] == pytest.approx(row.head.ratio * plain, rel=0.02, abs=1e-5)


def test_a_changed_byte_of_a_part_is_found(roomy: Bundle, tmp_path: Path) -> None:
    for name in ("head.packed", "whole.packed", "shapes.onnx"):
        copy = Path(shutil.copytree(roomy.path, tmp_path / name))
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(bytes(content))
        with pytest.raises(BadBundle, match=name.replace(".", r"\.")):
            open_bundle(copy)
        (copy / name).unlink()
        with pytest.raises(BadBundle, match=r"is missing"):
            open_bundle(copy)


def test_a_device_needs_no_model_and_says_so_when_it_is_asked_for(rig: Rig, roomy: Bundle, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(roomy.path, tmp_path / "device"))
    (copy / "model.onnx").unlink()
    bundle = open_bundle(copy)
    inputs = pictures(rig, 1)
    for name, wanted in ready(roomy).engine.whole(inputs).items():
        np.testing.assert_array_equal(ready(bundle).engine.whole(inputs)[name], wanted)
    with pytest.raises(BadBundle, match=r"is a device's copy: it has no model\.onnx"):
        bundle.model()


def test_parts_that_do_not_fit_together_make_way_for_one_another(rig: Rig, tmp_path: Path) -> None:
    plan = rig.plan(CUT, CODEC, rig.bits(relu_2=4))
    bundle = rig.packed(plan, tmp_path / "bundle", whole=rig.bits(8, 8), together=False)
    engine = ready(bundle).engine
    assert isinstance(engine, FewBits)
    inputs = pictures(rig, 1)
    first = engine.head(CUT, inputs)[CUT]
    engine.whole(inputs)
    assert list(engine._loaded) == [OUTPUT]
    np.testing.assert_array_equal(engine.head(CUT, inputs)[CUT], first)
    assert list(engine._loaded) == [CUT]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda p: p.model_copy(update={"bits": BitPlan(weights={"nowhere": 4})}),
            r"the layer 'nowhere', which digits",
        ),
        (
            lambda p: p.model_copy(update={"bits": BitPlan(outputs={"nowhere": 4})}),
            r"the tensor 'nowhere', which digits",
        ),
        (lambda p: p.model_copy(update={"fingerprint": "0" * 64}), r"the plan is for digits, another network"),
        (lambda p: p.model_copy(update={"bits": BitPlan(outputs={CUT: 5})}), r"gives relu_2 5 bits; the distortions"),
    ],
)
def test_a_plan_that_is_not_for_this_network_is_refused(
    rig: Rig, change: Callable[[Plan], Plan], said: str, tmp_path: Path
) -> None:
    plan = change(rig.plan(CUT, CODEC, rig.bits()))
    with pytest.raises(BadInput, match=said):
        rig.packed(plan, tmp_path / "bundle", whole=None)


def test_other_cuts_exits_and_stages_are_refused_in_a_sentence(rig: Rig, tight: Bundle) -> None:
    engine = ready(tight).engine
    inputs = pictures(rig, 1)
    with pytest.raises(BadInput, match=r"few bits up to relu_2, not up to 'relu_3'"):
        engine.head("relu_3", inputs)
    with pytest.raises(BadInput, match=r"is not on this device"):
        engine.tail(CUT, {})
    with pytest.raises(BadInput, match=r"exits cannot be run alone"):
        engine.at_exits(("exit1",))
    with pytest.raises(BadInput, match=r"image must be float32"):
        engine.head(CUT, {"image": np.zeros((1, 1, 8, 8), np.int64)})
    assert engine.head(INPUT, inputs).keys() == inputs.keys()
    kept = PackedParts({}, together=True)
    assert FewBits(rig.net, kept).finishes == "never"


def test_requests_are_gathered_where_the_device_holds_only_its_part(tight: Bundle) -> None:
    engine = ready(tight).engine
    assert engine.finishes == "never"
    assert Halves(engine).apart


def test_all_on_the_server_and_all_on_the_device_are_plans_too(rig: Rig, tmp_path: Path) -> None:
    inputs = pictures(rig, 3)
    away = rig.plan(INPUT, "int8", rig.bits()).model_copy(update={"bits": None})
    bundle = rig.packed(away, tmp_path / "away", whole=rig.bits(6, 8))
    assert set(table_of(bundle).cuts) == {INPUT, OUTPUT}
    steps = Steps()
    with (
        served(rig, bundle) as there,
        connect(
            bundle, there.address, chooser=Fixed(Choice(cut=INPUT, codec="int8")), journal=steps, verify=True
        ) as session,
    ):
        assert session.infer(inputs).ran == "server"
        there.stop()
        answer = session.infer(inputs)
    assert answer.ran == "device"
    assert [step.wrong for step in steps.all if step.kind == "request"] == [False, False]
    home = rig.packed(rig.plan(OUTPUT, "float32", rig.bits(4, 8)), tmp_path / "home", whole=rig.bits(4, 8))
    assert home.manifest.few_bits is not None
    assert home.manifest.few_bits.head is None
    with connect(home, "127.0.0.1:1", mode="only_on_device", verify=True, journal=steps) as session:
        assert session.infer(inputs).ran == "device"
    assert steps.all[-1].wrong is False
    assert steps.all[-1].error


@pytest.mark.parametrize(("which", "ran", "asked"), [("tight", "split", 2), ("roomy", "device", 1)])
def test_a_request_that_was_cut_off_is_sent_again_where_nobody_here_could_finish_it(
    rig: Rig, which: str, ran: str, asked: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle: Bundle = request.getfixturevalue(which)
    chooser, calls = Fixed(Choice(cut=CUT, codec=CODEC)), list[object]()
    with served(rig, bundle) as there, connect(bundle, there.address, chooser=chooser, deadline_s=5) as session:
        send = session._send

        def flaky(*words: object) -> None:
            calls.append(words)
            if len(calls) == 1:
                raise Unreachable("the connection broke")
            send(*words)  # type: ignore[arg-type]

        monkeypatch.setattr(session, "_send", flaky)
        assert session.infer(pictures(rig, 1)).ran == ran
    assert len(calls) == asked


def test_a_request_that_nobody_answers_is_sent_again_until_the_deadline_and_no_longer(
    rig: Rig, tight: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    chooser = Fixed(Choice(cut=CUT, codec=CODEC))
    with served(rig, tight) as there, connect(tight, there.address, chooser=chooser, deadline_s=1.0) as session:

        def broken(*_: object) -> None:
            time.sleep(0.01)
            raise Unreachable("the connection broke")

        monkeypatch.setattr(session, "_send", broken)
        begun = time.perf_counter()
        with pytest.raises(Unreachable, match="no answer within 1 s"):
            session.infer(pictures(rig, 1))
        took_s = time.perf_counter() - begun
    assert 1.0 <= took_s < 1.8


def test_a_whole_network_of_other_answers_does_not_stand_in(rig: Rig, tmp_path: Path) -> None:
    plan = rig.plan(CUT, CODEC, rig.bits(relu_2=4))
    bundle = rig.packed(plan, tmp_path / "bundle", whole=rig.bits(2, 2))
    assert bundle.manifest.few_bits is not None
    assert bundle.manifest.few_bits.whole is None
    assert not (bundle.path / "whole.packed").exists()
    assert ready(bundle).engine.finishes == "never"
