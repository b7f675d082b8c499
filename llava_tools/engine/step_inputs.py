"""What a decoder gets for a step, beside the embeddings of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from llava_tools.engine.kv_cache import KVCache


@dataclass(frozen=True)
class StepInputs:
    """What the rows of a step share.

    Attributes:
        positions: long [rows].
        write: Slots that the rows' keys and values are written to, long [rows] or a slice.
        plan: What the rows attend to, from the attention's `plan`.
        output_rows: long [outputs], rows from which a next token is picked; may be empty.
        output_plan: What they attend to, with rows numbered within `output_rows`.
        cache: The KV.
    """

    positions: Tensor
    write: Tensor | slice
    plan: Any
    output_rows: Tensor
    output_plan: Any
    cache: KVCache
