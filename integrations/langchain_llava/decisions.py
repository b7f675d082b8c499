"""`LlavaDecisionModel`: typed answers with probabilities, for langchain's decision middlewares.

The state becomes one question with images; labels are scored as its answers, nothing is generated.
Needs langchain-core 1.8, where LangChain's interface is a beta.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

try:
    import langchain_core.decisions  # noqa: F401
except ImportError as error:
    from llava_tools.errors import MissingExtraError

    raise MissingExtraError("langchain-core>=1.8", "langchain") from error

from langchain_core.decisions import (
    Answer,
    BaseDecisionModel,
    Choice,
    ChoiceAnswer,
    ClassifierResponse,
    Noul,
    NoulAnswer,
    Question,
    Score,
    ScoreAnswer,
)
from langchain_core.decisions.types import State
from langchain_core.messages import BaseMessage
from pydantic import Field, model_validator

from langchain_llava.chat_models import ChatLlava
from langchain_llava.errors import translated_errors
from langchain_llava.image_blocks import open_image_block
from langchain_llava.messages import to_messages
from langchain_llava.options import CheckedOptions
from llava_tools.errors import RequestError
from llava_tools.images import ImageRef
from llava_tools.label_scoring import YES_OR_NO
from llava_tools.tools.selection import select_option


class LlavaDecisionModel(CheckedOptions, BaseDecisionModel):
    """Answers `Choice`, `Noul` and `Score` questions about text, messages with images, or JSON.

        classifier = LlavaDecisionModel(llm=ChatLlava(model="7b"))
        ModelRouterMiddleware(choices={...}, instructions="...", classifier=classifier)

    The answer of a choice is the likeliest label, its confidence that label's probability; the
    labels' names are what is scored. Measure how well a small model decides before you rely on it.

    Raises:
        RequestError: An unknown or impossible argument.
    """

    llm: ChatLlava = Field(default_factory=ChatLlava)
    """The model that decides."""
    model: str = ""
    """Name of the model in traces; by default that of `llm`."""

    @model_validator(mode="after")
    def _name_model(self) -> LlavaDecisionModel:
        self.model = self.model or self.llm.model
        return self

    @property
    def _provider(self) -> str:
        return "llava"

    def _classify(self, state: State, questions: dict[str, Question]) -> ClassifierResponse:
        with translated_errors():
            images: list[ImageRef] = []
            text = self._text(state, images)
            answers = {name: self._answer(text, images, item) for name, item in questions.items()}
            return ClassifierResponse(model=self.model, answers=answers)

    def _text(self, state: State, images: list[ImageRef]) -> str:
        """Return a state as text, and add its images to a list."""
        plain = self._plain(state, images)
        if isinstance(plain, list) and all(isinstance(item, str) for item in plain):
            return "\n".join(plain)
        return _written(plain)

    def _plain(self, value: Any, images: list[ImageRef]) -> Any:
        """Return a part of a state as JSON; images become `[image N]`."""
        if isinstance(value, BaseMessage):
            (message,) = to_messages([value], self.llm._resolver)
            images.extend(message.images)
            calls = [{call.name: dict(call.arguments)} for call in message.tool_calls]
            return f"{message.role}: {message.text}{_written(calls) if calls else ''}"
        if isinstance(value, Mapping):
            image = open_image_block(value, self.llm._resolver)
            if image is None:
                return {name: self._plain(item, images) for name, item in value.items()}
            images.append(image)
            return f"[image {len(images)}]"
        if isinstance(value, Sequence) and not isinstance(value, str):
            return [self._plain(item, images) for item in value]
        return value

    def _answer(self, text: str, images: list[ImageRef], question: Question) -> Answer:
        llava = self.llm._llava()
        request = f"{text}\n{_written(question.instructions)}"
        if isinstance(question, Noul):
            meanings = question.criteria or ()
            notes = [f"{name}: {_written(value)}" for name, value in meanings if value is not None]
            choice = llava.choose("\n".join([request, *notes]), images, YES_OR_NO)
            yes = choice.probabilities["Yes"] + choice.probabilities["yes"]
            return NoulAnswer(type="noul", noul=min(yes, 1.0))
        if isinstance(question, Choice):
            options = {name: _written(value) for name, value in question.criteria.items()}
            choice = select_option(llava, request, images, options)
            assert choice.label is not None
            probabilities = dict(choice.probabilities)
            return ChoiceAnswer(
                type="choice",
                choice=choice.label,
                probabilities=probabilities,
                confidence=probabilities[choice.label],
            )
        if isinstance(question, Score):
            levels = {f"level_{n}": _written(value) for n, value in enumerate(question.criteria)}
            choice = select_option(llava, request, images, levels)
            shares = dict(enumerate(choice.probabilities.values()))
            return ScoreAnswer(
                type="score",
                score=sum(level * share for level, share in shares.items()),
                legend=dict(enumerate(question.criteria)),
                probabilities=shares,
                confidence=max(shares.values()),
            )
        raise RequestError(
            f"A decision model of LLaVA answers no {question.type!r} question.",
            "Use the tool `locate` of a LlavaToolkit.",
        )


def _written(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
