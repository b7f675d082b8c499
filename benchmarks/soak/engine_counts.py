"""What an engine holds: blocks of the KV, cached images, requests; and its process's threads."""

from __future__ import annotations

import threading
from typing import Any, cast

from llava_tools import Llava


def engine_counts(model: Llava) -> dict[str, Any]:
    """Return the counts of the engine of a model that runs in this process."""
    engine = cast(Any, model.backend)
    blocks = engine.loop._blocks  # nothing public has these numbers
    return {
        "kv_blocks_used": blocks.count - blocks.available,
        "kv_blocks_cached": len(blocks._registered),
        "cached_images": len(engine._images),
        "is_idle": engine.idle,
        "python_threads": threading.active_count(),
    }
