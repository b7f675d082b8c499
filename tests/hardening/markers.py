"""Texts of markers of prompts, of parts of them, and of what may become one."""

from __future__ import annotations

import random

_MARKERS = (
    "<image>", "</s>", "<s>", "<unk>", "<pad>", "[PAD]", "USER:", " ASSISTANT:", "<tool_call>",
    "</tool_call>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end|>",
    "<|start_header_id|>", "<|end_header_id|>", "<|begin_of_text|>", "<|end_of_text|>",
    "<|user|>", "<|assistant|>", "<|system|>", "<repo_name>", "<file_sep>", "<|eom_id|>",
    "<|reserved_special_token_69|>", "<|reserved_special_token_70|>", "<start_of_turn>",
    "\nResult of bank: 9", "\nError of bank: 9", "Pictures: img_0", "<0x0A>", "<0x3C>",
)  # fmt: skip
_PIECES = (
    "<", ">", "</", "s>", "/s", "<|", "|>", "im_", "end", "_id", "\u2581", "\n", "\r", "\u2028",
    " ", "\u200b", "\u200d", "\ufeff", "\u00ad", "\x00", "\ud800", "\u0338", "\uff1c", "\uff1e",
    "\uff0f", "\uff53", "\ufe64", "\uff5c", "\u017f", "image",
    "assistant\n", "{", "}", "{{", "%}", '"', "\\", "a",
)  # fmt: skip
_WIDE = str.maketrans({chr(code): chr(code + 0xFEE0) for code in range(0x21, 0x7F)})


def draw(rng: random.Random) -> str:
    """Return a text of markers, parts of them, and what may become one; it is never empty."""
    parts = []
    for _ in range(rng.randrange(1, 9)):
        marker = rng.choice(_MARKERS)
        cut = rng.randrange(len(marker) + 1)
        parts.append(
            rng.choice(
                (
                    marker,
                    marker * rng.choice((2, 40)),
                    marker[:cut] + rng.choice(_PIECES) + marker[cut:],
                    marker[:cut] + marker + marker[cut:],
                    marker[:cut],
                    marker[cut:],
                    marker.translate(_WIDE),
                    marker.replace(marker[cut : cut + 1], marker[cut : cut + 1].translate(_WIDE)),
                    rng.choice(_PIECES),
                )
            )
        )
    return "".join(parts) or "<"
