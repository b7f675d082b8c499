"""The in-process engine: transformers and torch behind the backend interface.

`loading/` turns a name into a checked, loaded model; `device` picks where it runs. The path of a
request:

1. `engine` compiles its constraint (`grammar_masks`), tokenizes its prompt (`tokenizer`), and
   admits it with a `RequestState` (`request_state`).
2. `image_cache` replaces each image by virtual token ids. `vision_tower` encodes an image that is
   new, `image_batcher` several that arrive together.
3. `continuous_batching/runtime` submits it. If another request computes the same images at that
   moment, it waits for that one (`prefill_coalescer`).
4. `continuous_batching/manager` runs transformers' scheduler: each step computes the language model
   (on CPUs `cpu/`, with the KV of `kv_layout`), `sampler` picks the tokens, and `router` delivers
   them. `oom_recovery` retries a step that lacked memory.
5. `stream` turns tokens into chunks; `scoring` sums the log-probabilities of forced labels.

Apart from requests, `embedding` turns texts and images into vectors with a CLIP (`loading.clip`).
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from llava_tools.core.backend import Backend
from llava_tools.errors import require
from llava_tools.options import EmbeddingOptions, EngineOptions

if TYPE_CHECKING:
    from llava_tools.engine.embedding import ClipEmbedding
    from llava_tools.engine.engine import LlavaEngine


def load_engine(options: EngineOptions) -> LlavaEngine:
    """Load a model and return the engine that runs it.

    Raises:
        MissingExtraError: torch, transformers or accelerate are not installed.
        ModelError: The model cannot be found, is not a LLaVA, or cannot run here.
    """
    with _paused_collector():
        _require_engine()
        from llava_tools.engine.engine import LlavaEngine
        from llava_tools.engine.loading.checkpoint import load

    return LlavaEngine(load(options), options)


def load_embedding(
    options: EmbeddingOptions, engines: Callable[[], Mapping[EngineOptions, Backend]]
) -> ClipEmbedding:
    """Load a model that turns texts and images into vectors.

    `engines` returns the loaded engines; the vision tower of one with the same model is reused.

    Raises:
        MissingExtraError: torch, transformers or accelerate are not installed.
        ModelError: The CLIP cannot be found, is another kind of model, or does not belong to the
            model's vision tower.
    """
    with _paused_collector():
        _require_engine()
        from llava_tools.engine.embedding import ClipEmbedding
        from llava_tools.engine.loading.clip import load_clip

    return ClipEmbedding(load_clip(options), options, engines)


def _require_engine() -> None:
    with warnings.catch_warnings(), suppress(ModuleNotFoundError):
        # transformers imports it too, and it warns in notebooks without ipywidgets.
        warnings.filterwarnings("ignore", "IProgress not found")
        import tqdm.auto  # noqa: F401
    require("torch", "transformers", "accelerate", extra="torch")


@contextmanager
def _paused_collector() -> Iterator[None]:
    """Pause the garbage collector while modules are imported, since all their objects stay.

    It would traverse these objects repeatedly (600,000 at the end), which takes an eighth of the
    time to the first token. Freezing and unfreezing moves them to the oldest generation, which is
    seldom traversed.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if not gc.get_freeze_count():  # else the application froze objects, which must stay so
                gc.freeze()
                gc.unfreeze()
            gc.enable()
