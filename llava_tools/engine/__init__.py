"""The in-process engine: transformers and torch behind the seam.

`load` brings the weights, `text` turns text into tokens and back, `vision` turns pictures into
features and virtual token ids, `batching` is the contact with continuous batching, `sampler` picks
tokens, `runtime` leads requests through it, `stream` turns tokens into deltas, `scoring` has labels
spelled, `engine` holds it all together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llava_tools.errors import MissingExtraError
from llava_tools.options import EngineOptions

if TYPE_CHECKING:
    from llava_tools.engine.engine import LlavaEngine


def load_engine(options: EngineOptions) -> LlavaEngine:
    """Load a model and return the engine that runs it.

    Raises:
        MissingExtraError: torch, transformers or accelerate are not installed.
        ModelError: The model cannot be found, is not a LLaVA, or cannot run here.
    """
    for package in ("torch", "transformers", "accelerate"):
        try:
            __import__(package)
        except ModuleNotFoundError as error:
            if error.name != package:
                raise
            raise MissingExtraError(package, "torch") from None
    from llava_tools.engine.engine import LlavaEngine
    from llava_tools.engine.load import load

    return LlavaEngine(load(options), options)
