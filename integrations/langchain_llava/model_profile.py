"""The model profile: what LangChain reads of a model's abilities without loading it."""

from __future__ import annotations

from langchain_core.language_models import ModelProfile


def model_profile(context_length: int | None) -> ModelProfile:
    """Return the profile of a model with `context_length` tokens; None: the length is unknown."""
    profile = ModelProfile(
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
        profile["max_input_tokens"] = context_length
    return profile
