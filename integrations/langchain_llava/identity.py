"""`ModelIdentity`: what LangChain's traces, caches and serialized chains read of a `ChatLlava`."""

from __future__ import annotations

from typing import Any, Self

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LangSmithParams
from pydantic import Field, model_validator

from langchain_llava import results
from langchain_llava.compat import ModelProfile
from langchain_llava.model_profile import model_profile
from llava_tools.core import peer_names
from llava_tools.images.store import ImageStore
from llava_tools.model_fields import ModelFields
from llava_tools.options import ENGINE_OPTIONS, PRIVATE_OPTIONS, SAMPLING_OPTIONS


class ModelIdentity(ModelFields, BaseChatModel):
    """Names and options of the model for LangChain; nothing here loads the model."""

    profile: ModelProfile | None = Field(default=None, exclude=True)

    @property
    def _llm_type(self) -> str:
        return "llava"

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        options = {peer_names.SYNONYMS.get(name, name): value for name, value in kwargs.items()}
        model = options.get("model") or self.model
        params = LangSmithParams(
            ls_provider=results.PROVIDER, ls_model_name=model, ls_model_type="chat"
        )
        if (temperature := options.get("temperature", self.temperature)) is not None:
            params["ls_temperature"] = temperature
        if (max_tokens := options.get("max_tokens", self.max_tokens)) is not None:
            params["ls_max_tokens"] = max_tokens
        if stop_strings := (self.stop if stop is None else stop):
            params["ls_stop"] = stop_strings
        return params

    @property
    def _identifying_params(self) -> dict[str, Any]:
        names = ("model", *ENGINE_OPTIONS, *SAMPLING_OPTIONS, "system")
        public = [name for name in names if name not in PRIVATE_OPTIONS]
        return {name: value for name in public if (value := getattr(self, name)) is not None}

    def _combine_llm_outputs(self, outputs: list[dict[str, Any] | None], /) -> dict[str, Any]:
        names = [output["model_name"] for output in outputs if output]
        return {"model_name": names[0]} if names else {}

    # Not `_resolve_model_profile`, which releases before 1.3 do not call.
    @model_validator(mode="after")
    def _set_model_profile(self) -> Self:
        if self.profile is None:
            name = self.model if self.backend is None else self.backend.model_name
            self.profile = model_profile(name, self._configured_context_length)
        return self

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        # The key of LangChain's cache, which lacks fields that are not serialized.
        key = super()._get_llm_string(stop, **kwargs)
        if isinstance(self.image_store, ImageStore):  # no answers about another user's images
            key = f"{key}---{self.image_store.key}"
        return key if self.backend is None else f"{key}---{self.backend.model_name}"

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return that `dumps` and `load` work."""
        return True

    @property
    def lc_secrets(self) -> dict[str, str]:
        """Fields left out of serialized models, and the environment variables that hold them."""
        return {"api_key": "LLAVA_API_KEY"}
