"""The in-process engine: transformers and torch behind the backend interface.

`load` brings the weights, `text` turns text into tokens and back, `eye` makes features of images,
`together` of several in one pass, and `vision` gives them virtual token ids. `batching` is the
contact with continuous batching, `shortage` does a step again that there was no memory for,
`sampler` picks tokens, `runtime` leads requests through it, `stream` turns tokens into chunks,
`scoring` has labels spelled, `engine` holds it all together. On CPUs `llama` computes what that of
transformers does, with weights that are `packed` and `attention` to a KV that `paging` lays out.
Apart from requests, `clip` loads what CLIP has and LLaVA lacks, and `embedding` turns texts and
images into vectors with it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llava_tools.core.backend import Backend
from llava_tools.errors import need
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
    with _importing():
        need("torch", "transformers", "accelerate", extra="torch")
        from llava_tools.engine.engine import LlavaEngine
        from llava_tools.engine.loading.checkpoint import load

    return LlavaEngine(load(options), options)


def load_embedding(
    options: EmbeddingOptions, engines: Callable[[], Mapping[EngineOptions, Backend]]
) -> ClipEmbedding:
    """Load what turns texts and images into vectors.

    Args:
        options: What to load.
        engines: Those that are loaded at the moment; one of the same model lends its vision tower.

    Raises:
        MissingExtraError: torch, transformers or accelerate are not installed.
        ModelError: The CLIP cannot be found, is none, or does not belong to the model's vision tower.
    """
    with _importing():
        need("torch", "transformers", "accelerate", extra="torch")
        from llava_tools.engine.embedding import ClipEmbedding
        from llava_tools.engine.loading.clip import load_clip

    return ClipEmbedding(load_clip(options), options, engines)


@contextmanager
def _importing() -> Iterator[None]:
    """Let the garbage collector rest while modules are imported, whose objects all stay.

    It would walk through them again and again, 600,000 in the end, for an eighth of the time to the
    first token. Freezing and unfreezing puts them among the old ones, which it seldom looks at.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # else somebody froze objects to keep them so
            gc.freeze()
            gc.unfreeze()
        gc.enable()
