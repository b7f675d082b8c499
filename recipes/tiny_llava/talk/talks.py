"""What lectures are made of: conversations, and those of their messages that are learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llava_tools.core.constraints import Constraint
from llava_tools.core.requests import Message


@dataclass(frozen=True, slots=True)
class Talk:
    """One conversation; ``kinds`` names the messages that are learned, by their place in it."""

    messages: tuple[Message, ...]
    kinds: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Lecture:
    """Conversations under one system sentence and one constraint."""

    system: str
    constraint: Constraint
    talks: tuple[Talk, ...]
