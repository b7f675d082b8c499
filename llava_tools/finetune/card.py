"""The model card of a trained checkpoint: what it was made of, how, and how it is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version

from llava_tools import __version__
from llava_tools.finetune.checkpoint import StepMetrics
from llava_tools.finetune.options import AlignOptions, StageOptions

#: Packages whose versions a card names.
_PACKAGES = ("torch", "transformers", "peft", "accelerate")
#: Options that say where files were, or how a step was computed.
_LEFT_OUT = {"model", "vision", "data", "images", "out", "work", "workers", "local_files_only"}

_STAGES = {
    "align": "stage 1 of LLaVA 1.5's training: the projector between a vision tower and a language "
    "model learned captions. It continues texts about images; to answer questions it needs "
    "stage 2, `llava-tools train tune`.",
    "tune": "stage 2 of LLaVA 1.5's training: the language model and the projector learned "
    "conversations.",
}

_CARD = """\
---
pipeline_tag: image-text-to-text
library_name: transformers
base_model:
{bases}
---
# {name}

Made by {stage}

```python
from llava_tools import Llava
Llava("{name}").ask("What is this?", "photo.jpg")
```

## Training

{records} with the SHA-256 `{digest}` in {steps} steps; {tokens:,} tokens with loss.
Loss per token: {first:.4f} at the first step, {last:.4f} at the last.{held_out}

| option | value |
|-|-|
{options}

Made with llava-tools {llava_tools}; {versions}.

## Terms

The terms of the models that it was made of and of the data apply to it. Data made with ChatGPT or
GPT-4, as a part of LLaVA's own was, may not be used to make competing commercial models by OpenAI's
terms.
"""


def write_card(options: StageOptions, metrics: Sequence[StepMetrics], digest: str) -> str:
    """Return the card, in Markdown.

    Args:
        options: Of the run.
        metrics: Of all its steps.
        digest: SHA-256 of the data's file.
    """
    is_align = isinstance(options, AlignOptions)
    bases = (
        [options.model, options.vision] if isinstance(options, AlignOptions) else [options.model]
    )
    evaluated = [step.held_out_loss for step in metrics if step.held_out_loss is not None]
    values = {name: value for name, value in asdict(options).items() if name not in _LEFT_OUT}
    return _CARD.format(
        bases="\n".join(f"- {base}" for base in bases),
        name=options.out.name,
        stage=_STAGES["align" if is_align else "tune"],
        records=options.data.name,
        digest=digest,
        steps=len(metrics),
        tokens=sum(step.tokens for step in metrics),
        first=metrics[0].loss,
        last=metrics[-1].loss,
        held_out=f" On held-out records: {evaluated[-1]:.4f}." if evaluated else "",
        options="\n".join(f"| {name} | {value} |" for name, value in values.items()),
        llava_tools=__version__,
        versions=", ".join(f"{name} {version(name)}" for name in _PACKAGES),
    )
