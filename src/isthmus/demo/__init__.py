"""The main job, shown: a real network across a slow device and a server over a link that changes."""

from isthmus.demo.compare import Compared, compare
from isthmus.demo.digits import DigitsRow, digits_rows
from isthmus.demo.scene import Scene, scene_for
from isthmus.demo.server import ServerProcess

__all__ = ["Compared", "DigitsRow", "Scene", "ServerProcess", "compare", "digits_rows", "scene_for"]
