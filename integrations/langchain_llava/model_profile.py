"""The model profile: what LangChain reads of a model's abilities without loading it."""

from __future__ import annotations

from typing import cast

from langchain_llava.compat import ModelProfile


def model_profile(name: str, context_length: int | None) -> ModelProfile:
    """Return the profile of a model with `context_length` tokens; None: the length is unknown.

    Prompt and answer share the context, so that either may have all but one of its tokens.
    """
    profile = ModelProfile(
        name=name,
        text_inputs=True,
        image_inputs=True,
        image_url_inputs=True,
        image_tool_message=True,
        pdf_inputs=False,
        pdf_tool_message=False,
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
        mid_conversation_system_messages=False,  # system messages are joined at the beginning
        mid_conversation_tools=False,
        structured_output=True,
        attachment=True,
        temperature=True,
        open_weights=True,
    )
    if context_length is not None:
        profile["max_input_tokens"] = profile["max_output_tokens"] = context_length
    # LangChain warns of keys that its release does not know.
    known = getattr(ModelProfile, "__annotations__", profile)
    return cast(ModelProfile, {key: value for key, value in profile.items() if key in known})
