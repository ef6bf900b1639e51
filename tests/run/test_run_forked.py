"""A process that was forked from one with a session: it is told so, and the parent notices nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FORK = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from run_rig import Told
from isthmus.engine import Engine
from isthmus.errors import BadInput
from isthmus.graph import INPUT
from isthmus.model import load_model
from isthmus.run import connect_engine, serve
from isthmus.run.oip_client import OipClient

engine = Engine.open(load_model("zoo:tiny"), cache_dir=Path(sys.argv[1]))
inputs = engine.model.random_inputs()
server = serve(engine)
client = OipClient(server.address)
session = connect_engine(engine, server.address, chooser=Told(INPUT), verify=True)
batcher = session.batched(max_batch=2)
assert session.infer(inputs).ran == "server"

def refused(ask):
    try:
        ask()
    except BadInput as e:
        print(e, flush=True)
    else:
        os._exit(3)

held = (session._decider._lock, session._keeper._lock, batcher._changed)
for lock in held:  # as some other thread may
    lock.acquire()
child = os.fork()
if not child:
    signal.alarm(20)
    refused(lambda: session.infer(inputs))
    refused(session.batched)
    refused(lambda: batcher.infer(inputs))
    refused(lambda: batcher.submit(inputs))
    refused(lambda: client.infer("tiny", inputs))
    assert not session.connected
    assert not session.wait_connected(5)
    for one in (batcher, session, client):
        one.close()
    server.stop()
    os._exit(0)
for lock in held:
    lock.release()
_, how = os.waitpid(child, 0)
for _ in range(20):
    step = session.infer(inputs).step
    assert (step.ran, step.trouble, step.wrong) == ("server", "", False), step
connect_engine(engine, server.address, chooser=Told(INPUT), mode="only_on_server").close()
batcher.close()
session.close()
client.close()
server.stop()
sys.exit(how != 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system knows no fork")
def test_a_fork_is_refused_and_touches_nothing_of_the_parents(cache_dir: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORK, str(cache_dir), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.splitlines()
    assert [line.split()[1] for line in said] == ["session", "session", "batcher", "batcher", "client"]
    assert all("make one after the fork" in line for line in said)
