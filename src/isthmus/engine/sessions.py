"""onnxruntime sessions the way isthmus wants them: one thread count, one shared arena, weights mapped from a file.

The only place that talks to onnxruntime's options. Two kinds of session: *finished* graphs (already optimised, cut out
of the optimised network, weights in the file beside them) run as they are; *plain* graphs are optimised on loading.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from isthmus.engine.runtime import ort
from isthmus.engine.stop import run_options
from isthmus.engine.weights import INLINE_BYTES
from isthmus.errors import BadInput, BadModel
from isthmus.model.types import Array

RUNTIME = f"onnxruntime {ort.__version__}"
"""What profiles and manifests write down."""

_ERRORS_ONLY = 3
_NO_LIMIT, _DOUBLING, _AS_REQUESTED, _DEFAULT, _SPLIT_ALWAYS = 0, 0, 1, -1, 1
_REGION_BYTES = 1 << 28
_arena_lock = threading.Lock()
_NOTHING: Mapping[str, ort.OrtValue] = MappingProxyType({})


@dataclass(frozen=True)
class Part:
    """A piece of a network that can run: which tensors it takes and which it gives, in that order."""

    takes: tuple[str, ...]
    gives: tuple[str, ...]
    session: ort.InferenceSession = field(repr=False)
    lent: Mapping[str, ort.OrtValue] = field(default_factory=dict, repr=False)
    """Weights that the session was lent: it needs them, and does not keep them."""

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """The tensors this part gives. `values` holds at least what it takes, already checked. Raises BadInput, also
        where a `Stop` broke it off."""
        try:
            made = self.session.run(list(self.gives), {t: values[t] for t in self.takes}, run_options())
        except Exception as error:  # onnxruntime has a dozen classes of its own without a common base
            raise BadInput(f"onnxruntime could not run the network on this input: {_first_line(error)}") from error
        return dict(zip(self.gives, made, strict=True))


def finished_session(
    model: bytes,
    weights: Path,
    threads: int,
    *,
    lent: Mapping[str, ort.OrtValue] = _NOTHING,
    prepack: bool = False,
    profile: Path | None = None,
    in_order: bool = False,
) -> ort.InferenceSession:
    """A session for a graph that is already optimised and whose weights stand in the folder `weights`.

    Nothing is rewritten and, unless `prepack`, no weight is copied: those that are `lent` are used where they lie, by
    all sessions, and must outlive this one; of others the file's pages are mapped. With `profile` every run is timed
    node by node into files whose names begin so. `in_order`: nodes run as they stand in the graph, not in an order of
    the runtime's own.
    """
    options = _options(threads)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if in_order:
        options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    if not prepack:
        options.add_session_config_entry("session.disable_prepacking", "1")
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    for name, value in lent.items():
        options.add_initializer(name, value)
    return _made(model, weights, options, one_region=in_order)


def plain_session(model: bytes, weights: Path, threads: int) -> ort.InferenceSession:
    """A session for a graph as it was written, optimised while loading; keeps a copy of its own of the weights."""
    return _made(model, weights, _options(threads))


def save_prepacked(model: bytes, weights: Path, to: Path, weights_name: str) -> None:
    """Save a finished graph as `to` with, beside every weight, the form its kernel repacks it to: sessions that load
    it share those pages as well, instead of holding a copy each."""
    options = _options(1)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    _save_to(options, to, weights_name)
    options.add_session_config_entry("session.save_external_prepacked_constant_initializers", "1")
    _made(model, weights, options)


def optimise(model: bytes, to: Path, level: str = "all", *, part: bool = False) -> None:
    """Let onnxruntime rewrite a model for this CPU and save what it made, large weights in a file beside it.

    `level`: `all`, or `extended`, which leaves the memory layout alone (as on CPUs that have no blocked layout).
    `part`: what will run here is a part alone. Raises BadModel where it cannot.
    """
    options = _options(1)
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = {"all": levels.ORT_ENABLE_ALL, "extended": levels.ORT_ENABLE_EXTENDED}[level]
    _save_to(options, to, f"{to.stem}.bin")
    options.add_session_config_entry("session.disable_prepacking", "1")  # this session never runs
    _made(model, to.parent, options, one_region=part)


def _save_to(options: ort.SessionOptions, to: Path, weights_name: str) -> None:
    external = "session.optimized_model_external_initializers_"
    options.optimized_model_filepath = str(to)
    options.add_session_config_entry(f"{external}file_name", weights_name)
    options.add_session_config_entry(f"{external}min_size_in_bytes", str(INLINE_BYTES))


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # a memory plan per session and shape takes one large block each out of the shared arena and leaves it in pieces
    options.enable_mem_pattern = False
    # what is dead goes back to the arena at once: kept for later tensors of the same shape, it took 1.5 MB more on
    # GoogLeNet and 7 MB on ResNet-50 with widened weights, and where it lay was chance
    options.enable_mem_reuse = False
    if threads > 1:  # many sessions, each with idle threads: those must sleep, not spin
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _made(model: bytes, folder: Path, options: ort.SessionOptions, *, one_region: bool = False) -> ort.InferenceSession:
    with _arena_lock:
        _share_arena(one_region)
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # see Part.run
        if not folder.is_dir():
            raise BadInput(f"{folder} was deleted while it was in use; start again") from error
        raise BadModel(f"onnxruntime cannot take this network: {_first_line(error)}") from error


_shared: list[bool] = []
"""Whether the arena of this process is one region; empty until there is one."""


def _share_arena(one_region: bool) -> None:
    """One arena for activations in this process, as the first session wants it. Without it each of a hundred sessions
    keeps its own (1–2 GB).

    For a part, which is alone or nearly so, it is one region of address space that takes memory where it is first
    written to, and blocks are split however little is left: regions as large as what is asked for cannot be joined,
    and take 3.3 MB more on the first quarter of MobileNetV2 at 8 bits, 5 MB on that of ResNet-50, at the same speed.
    For the many sessions of an engine it grows by what is asked for: 7.5 MB less than one region on ResNet-50 with 20
    cuts ready, 10 MB less than by doubling.
    """
    if _shared:
        return
    info = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    region = (_DOUBLING, _REGION_BYTES, _SPLIT_ALWAYS) if one_region else (_AS_REQUESTED, _DEFAULT, _DEFAULT)
    ort.create_and_register_allocator(info, ort.OrtArenaCfg(_NO_LIMIT, *region))
    _shared.append(one_region)


def _first_line(error: Exception) -> str:
    """onnxruntime's complaint without its stack: one sentence."""
    text = str(error).strip().splitlines()
    return text[0][:300] if text else type(error).__name__
