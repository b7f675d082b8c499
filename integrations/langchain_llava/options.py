"""What LangChain's users call our options, and what a model can do, told without loading it."""

from __future__ import annotations

from langchain_core.language_models import ModelProfile

from llava_tools.options import ALIASES, CONTEXTS

#: Other names under which LangChain's users know our options.
OTHER_NAMES = {"model_name": "model", "stop_sequences": "stop"}


def profile(model: str, context: int | None) -> ModelProfile:
    """Return what LangChain wants to know of a model; `context` where it is known."""
    context = context or CONTEXTS.get(ALIASES.get(model, model))
    told = ModelProfile(
        text_inputs=True,
        image_inputs=True,
        image_url_inputs=True,
        image_tool_message=True,
        pdf_inputs=False,
        audio_inputs=False,
        video_inputs=False,
        text_outputs=True,
        image_outputs=False,
        audio_outputs=False,
        video_outputs=False,
        reasoning_output=False,
        tool_calling=True,
        tool_choice=True,
        tool_call_streaming=True,
        structured_output=True,
        temperature=True,
        open_weights=True,
    )
    if context is not None:
        told["max_input_tokens"] = context
    return told
