"""Running a network on this machine, whole and in halves. The only folder that knows onnxruntime."""

from isthmus.engine.engine import Engine, Progress
from isthmus.engine.nodes import node_times
from isthmus.engine.sessions import RUNTIME
from isthmus.engine.slow import SlowDown, wait_s

__all__ = ["RUNTIME", "Engine", "Progress", "SlowDown", "node_times", "wait_s"]
