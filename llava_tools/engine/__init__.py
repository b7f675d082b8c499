"""The in-process engine: a LLaVA behind the backend interface, for many callers at once.

Before a step. `engine` compiles a request's constraint (`grammar_masks`), tokenizes its prompt
(`tokenizer`), has new images encoded (`vision_tower`, several at once by `image_batcher`, on a GPU
on a `vision_stream`), and gives each image ids of its own (`image_cache`). The request, a
`RequestState`, goes to the `loop`.

A step, on the loop's thread:

 1. The loop makes a `Sequence` of each new request, and drops those that were cancelled.
 2. The `scheduler` chooses how many tokens of which sequences are computed: one for each answer,
    the rest of the step's budget for prompts.
 3. `blocks` finds the prompts' beginnings that the KV holds, and hands out blocks for the rest.
 4. The `runner` puts the tokens of all sequences in one row after another, embeds them, and notes
    for each row its position, its slot in the `kv_cache` and what it attends to.
 5. The `decoder` computes the rows: `linear` layers over all of them, `attention` for each sequence
    in its own blocks. For families that `decoder` does not know `transformers_decoder` has
    transformers compute them, with our attention (`attention_interface`); `architecture_check`
    refuses those that this would run wrongly.
 6. Logits come back for the rows after which a token is wanted. On a GPU steps of single rows are
    replayed (`decode_graphs`).
 7. The `sampler` picks a token for each of them, by the request's own settings and grammar.
 8. The loop appends it, with the tokens that the grammar then leaves no choice about.
 9. Blocks that are full are registered, so that later prompts find them.
10. Tokens go to the callers, whose `stream` turns them into text; what has ended leaves.

Texts are scored as answers in the same steps (`scoring`), also with parts of images left out
(`masking`).

`loading/` turns a name into a checked, loaded model; `device` picks where it runs, `memory_plan`
how much it takes. On GPUs `fused_layer` has the decoder's small operations in Triton's kernels,
after `triton_check` has tried them. Apart from requests, `embedding` turns texts and images into
vectors with a CLIP (`loading.clip`).
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from llava_tools.core.backend import Backend
from llava_tools.engine.process import remember_process
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
        EngineError: This process was forked from one that had loaded a model.
    """
    remember_process()
    with paused_collector():
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
        EngineError: This process was forked from one that had loaded a model.
    """
    remember_process()
    with paused_collector():
        _require_engine()
        from llava_tools.engine.embedding import ClipEmbedding
        from llava_tools.engine.loading.clip import load_clip

    return ClipEmbedding(load_clip(options), options, engines)


def free_memory() -> None:
    """Return the memory of engines that nothing refers to any more to the system."""
    gc.collect()  # an engine's parts refer to each other
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def _require_engine() -> None:
    with warnings.catch_warnings(), suppress(ModuleNotFoundError):
        # transformers imports it too, and it warns in notebooks without ipywidgets.
        warnings.filterwarnings("ignore", "IProgress not found")
        import tqdm.auto  # noqa: F401
    require("torch", "transformers", "accelerate", extra="torch")


@contextmanager
def paused_collector() -> Iterator[None]:
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
