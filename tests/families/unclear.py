"""Checkpoints whose conversation format cannot be told from their files, or is not supported."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.families import configs
from tests.families.loadable import LOADABLE, Loadable

_VICUNA_TEMPLATE = "USER: {{ messages[0].content }} ASSISTANT:"
_GEMMA_TEMPLATE = (
    "{{ '<start_of_turn>user\\n' + messages[0].content + '<end_of_turn>\\n"
    "<start_of_turn>model\\n' }}"
)
_GEMMA = {"model_type": "gemma", "head_dim": 16, "tie_word_embeddings": True}


@dataclass(frozen=True)
class Unclear:
    """A checkpoint that is refused until the option names its format.

    Attributes:
        row: The checkpoint; its prompts are not used.
        says: What the error must contain.
    """

    row: Loadable
    says: tuple[str, ...]


def _unnamed(name: str) -> Loadable:
    row = next(row for row in LOADABLE if row.name == name)
    return replace(row, conversation=None)


_LLAVA, _QWEN = LOADABLE[0], _unnamed("llava-hf/llava-interleave-qwen-7b-hf")

UNCLEAR = (
    Unclear(_unnamed("a fine-tune of llava-hf/bakLlava-v1-hf"), ("Mistral-Instruct",)),
    Unclear(_unnamed("TitanML/tinyllava-1.1b-v0.1 in the llava-hf layout"), ("chatml", "</s>")),
    Unclear(
        replace(
            _QWEN,
            name="Vicuna's chat template on Qwen2's vocabulary",
            files={"preprocessor_config.json": _QWEN.files["preprocessor_config.json"]},
            template=_VICUNA_TEMPLATE,
        ),
        ("vicuna_v1", "chatml"),
    ),
    Unclear(
        replace(
            _LLAVA,
            name="Intel/llava-gemma-2b (unverified: its config.json)",
            config=configs.llava_config(_GEMMA, configs.CLIP),
            vocabulary="gemma",
            template=_GEMMA_TEMPLATE,
            storage="one file",
        ),
        ("Gemma", "not supported"),
    ),
)
