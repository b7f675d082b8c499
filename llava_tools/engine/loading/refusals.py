"""Models that are not loaded: why, and what to use instead."""

from __future__ import annotations

from dataclasses import dataclass

from llava_tools.errors import ModelError, ModelNotFoundError


@dataclass(frozen=True)
class Refusal:
    """Why a model is not loaded.

    Attributes:
        message: The fault, with the model's name; one sentence.
        hint: What to use instead.
        missing: Whether there is no model at all, rather than one of another kind.
    """

    message: str
    hint: str
    missing: bool = False

    def error(self) -> ModelError:
        """Return the error to raise."""
        return (ModelNotFoundError if self.missing else ModelError)(self.message, self.hint)
