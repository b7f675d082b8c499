"""What LangChain's users call our options, and what a model can do, told without loading it."""

from __future__ import annotations

from langchain_core.language_models import ModelProfile

#: Other names under which LangChain's users know our options.
SYNONYMS = {"model_name": "model", "stop_sequences": "stop"}


def profile(context_length: int | None) -> ModelProfile:
    """Return the profile of a model with `context_length` tokens, where that is known."""
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
    if context_length is not None:
        told["max_input_tokens"] = context_length
    return told
