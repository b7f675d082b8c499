"""Print the table of checkpoints: `python -m tests.families > docs/tested_models.md`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported

from llava_tools.engine import load_engine
from llava_tools.engine.loading.inspection import inspect, list_files
from llava_tools.errors import ModelError
from llava_tools.options import EngineOptions
from tests.families import writers
from tests.families.loadable import LOADABLE, Loadable
from tests.families.refused import REFUSED, Refused
from tests.families.stand_in import CONVERSATIONS, StandIn, loaded
from tests.families.unclear import UNCLEAR, Unclear

_TEXT = """# Models that were tried

The weights of these models could not be had where this was developed. What was tried are stand-ins:
checkpoints with the fields of the published configurations at a small scale, tokenizers of the same
kind, the files and names of weights of one release, and random weights. How good the real models'
answers are, they do not show. Below, "yes" means:

- **tokens**: the engine's greedy tokens equal those of transformers' `generate` in float32, with 0,
  1 and 2 images and in a conversation of three turns. The reference takes the published prompt as a
  text, makes pixels with Pillow alone, and has weights that were never in a file.
- **prompt**: what is sent equals the prompt that the model was trained on, byte for byte, and has
  the tokens that its tokenizer gives for it, in one turn and in three. With two images in a turn,
  which no source shows, each stands as the first does.

XTuner trained Phi-3 with tokens for the line break between two turns; Phi-3's tokenizer takes it up
into the token before it when it reads a whole prompt, as here.

`python -m tests.families` writes this page; `tests/families/` holds the data and the tests.

## Models that load

{loads}

## Models that are refused

Each is refused before weights are downloaded or loaded. LLaVA's original layout loads after
`llava-tools convert`; `tests/engine/loading/original/test_convert.py` compares the tokens with the
original computation.

{refusals}

## Models whose conversation format must be named

{unclear}
"""


def main() -> None:
    loads = [_load(row) for row in LOADABLE]
    refusals = [refuse(row) for row in REFUSED]
    heads = ("model", "tokens", "prompt", "conversation", "prompt read in", "configuration read in")
    page = _TEXT.format(
        loads=_table(heads, loads),
        refusals=_table(("model", "what is said"), refusals),
        unclear=_table(("model", "what is said"), map(_error, UNCLEAR)),
    )
    sys.stdout.write(page)


def _load(row: Loadable) -> tuple[str, ...]:
    name, published = row.name, row.published
    with tempfile.TemporaryDirectory() as folder:
        try:
            with loaded(row, Path(folder)) as stand_in:
                tokens = _all(_same_tokens(stand_in, text) for text in CONVERSATIONS)
                prompts = _all(_same_prompt(stand_in, text) for text in CONVERSATIONS)
                chosen = stand_in.engine.loaded.tokenizer.conversation.name
        except ModelError as error:
            return (name, "no", "no", str(error), published.source, row.source)
    option = f'`{chosen}`, by `conversation="{chosen}"`' if row.conversation else f"`{chosen}`"
    return (name, tokens, prompts, option, published.source, row.source)


def _same_tokens(stand_in: StandIn, text: str) -> bool:
    return list(stand_in.answer(text).token_ids) == stand_in.reference_answer(text)


def _same_prompt(stand_in: StandIn, text: str) -> bool:
    same_text = stand_in.prompt(text) == stand_in.published(text)
    return same_text and stand_in.token_ids(text) == stand_in.reference_ids(text)


def _all(results: Iterable[bool]) -> str:
    checked = list(results)
    return "yes" if all(checked) else f"{sum(checked)} of {len(checked)}"


def refuse(row: Refused) -> tuple[str, ...]:
    """Return the cells of a checkpoint that is refused."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        row.write(folder)
        files = {**list_files(folder), **row.files}
        refusal = inspect(folder, files, row.name.split(" ")[0]).refusal_on("cpu")
    sentence = "loads" if refusal is None else f"{refusal.message} {refusal.hint}"
    return (row.name, sentence)


def _error(unclear: Unclear) -> tuple[str, ...]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / unclear.row.folder
        writers.write(unclear.row, folder)
        try:
            load_engine(EngineOptions(str(folder), device="cpu")).close()
        except ModelError as error:
            sentence = str(error).replace(str(folder), unclear.row.folder)
            return (unclear.row.name, sentence)
    return (unclear.row.name, "loads")


def line(cells: Iterable[str]) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join([line(heads), f"|{'-|' * len(heads)}", *map(line, rows)])


if __name__ == "__main__":
    main()
