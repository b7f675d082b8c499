"""What a visual tool is, and how it runs: the same for every framework.

A tool has a name, a description, arguments and a result. What it does is a generator that yields
what the model is to be asked and is sent the answers; so one description of the work runs blocking
and in an event loop, and requests that are yielded together share a batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema, create_model

from llava_tools.chat import image_handles
from llava_tools.core.outputs import Answer
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.core.streaming import aanswer_all, answer_all
from llava_tools.errors import RequestError
from llava_tools.images import ImageRef
from llava_tools.images.access import ImageResolver
from llava_tools.model import Llava

A = TypeVar("A", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)
Value = TypeVar("Value")


class Arguments(BaseModel):
    """Base of all arguments: closed, so that an invented argument is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Result(BaseModel):
    """Base of all results."""

    model_config = ConfigDict(frozen=True)

    def __str__(self) -> str:
        """Return what an agent is told: JSON without what goes without saying."""
        return self.model_dump_json(exclude_defaults=True)


#: An image's handle. The pattern is for those who write calls: `handles` narrows it to the
#: images of the conversation. Which names lead to an image is the image resolver's to say.
ImageName = Annotated[
    str,
    WithJsonSchema(dict(image_handles.ARGUMENT)),
    Field(description="Handle of the picture: img_..."),
]
AnyName = Annotated[
    str, Field(description="Handle of the picture (img_...), or its path or URL where allowed.")
]
ImageNames = Annotated[
    list[ImageName], Field(min_length=2, max_length=8, description="Handles of the pictures.")
]
AnyNames = Annotated[list[AnyName], Field(min_length=2, max_length=8, description="The pictures.")]


@dataclass(frozen=True)
class Scored:
    """A request whose answer is one of these labels: their log-probabilities are wanted."""

    request: Request
    labels: tuple[str, ...]


Step = tuple[Request, ...] | Scored
Plan = Generator[Step, Any, Value]


def question(text: str, *images: ImageRef, max_tokens: int) -> Request:
    """Return a question about images, to be answered greedily."""
    return Request((Message("user", (*images, text)),), SamplingParams(max_tokens=max_tokens))


def answers(*requests: Request) -> Plan[Sequence[Answer]]:
    """Have requests answered in one batch."""
    told: Sequence[Answer] = yield requests
    return told


def scores(request: Request, labels: Sequence[str]) -> Plan[Sequence[float]]:
    """Have labels scored as answers."""
    told: Sequence[float] = yield Scored(request, tuple(labels))
    return told


@dataclass(frozen=True)
class VisualTool(Generic[A, R]):
    """A tool that looks at images.

    Attributes:
        name: As agents call it.
        description: What it does and what it gives back, for the agent.
        arguments: Model of its arguments.
        plan: From arguments and images to the result, by way of questions to the model.
    """

    name: str
    description: str
    arguments: type[A]
    plan: Callable[[A, ImageResolver], Plan[R]]

    def run(self, model: Llava, arguments: A, resolver: ImageResolver | None = None) -> R:
        """Run the tool.

        Args:
            model: Who looks.
            arguments: What is wanted.
            resolver: Which images may be named; by default those in the image store of the process.

        Raises:
            RequestError: An unknown image, or arguments that do not go with it.
            ModelError: The model cannot be loaded.
            EngineError: The engine could not finish, or (`OutputError`) gave no usable answer.
        """
        return carry_out(model, self.plan(arguments, resolver or ImageResolver()))

    async def arun(self, model: Llava, arguments: A, resolver: ImageResolver | None = None) -> R:
        """`run` without blocking the event loop; cancelling the task stops the generation."""
        return await acarry_out(model, self.plan(arguments, resolver or ImageResolver()))

    def parse(self, arguments: object) -> A:
        """Return arguments as an agent sent them: a mapping, or its JSON.

        Raises:
            RequestError: What is wrong with which argument.
        """
        try:
            if isinstance(arguments, str):
                return self.arguments.model_validate_json(arguments)
            return self.arguments.model_validate(arguments)
        except ValidationError as error:
            raise RequestError(
                f"{self.name}: {faults(error)}.", f"It takes: {', '.join(self._names)}."
            ) from None

    def for_resolver(self, resolver: ImageResolver) -> Self:
        """Return the tool as it is described where images may be named as this image resolver allows."""
        if resolver.handles_only:
            return self
        base: Any = self.arguments
        wider: Any = {"image": AnyName, "images": AnyNames}
        fields = {name: kind for name, kind in wider.items() if name in self._names}
        return replace(self, arguments=create_model(base.__name__, __base__=base, **fields))

    @property
    def parameters(self) -> dict[str, Any]:
        """JSON schema of the arguments, without what only people read."""
        schema = self.arguments.model_json_schema()
        del schema["title"]
        schema.pop("description", None)
        for field in schema["properties"].values():
            del field["title"]
        return schema

    @property
    def _names(self) -> list[str]:
        return list(self.arguments.model_fields)


def carry_out(model: Llava, plan: Plan[Value]) -> Value:
    """Have a model answer what a plan asks, and return what comes of it."""
    done, step = _advance(plan, None)
    while not done:
        done, step = _advance(plan, _reply(model, step))
    result: Value = step
    return result


async def acarry_out(model: Llava, plan: Plan[Value]) -> Value:
    """`carry_out` without blocking the event loop; cancelling the task stops the generation."""
    done, step = await asyncio.to_thread(_advance, plan, None)  # it may fetch images
    while not done:
        reply = await _areply(model, step)
        done, step = await asyncio.to_thread(_advance, plan, reply)
    result: Value = step
    return result


def faults(error: ValidationError) -> str:
    """Return what pydantic found wrong, in one line."""
    told = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'arguments'}: {fault['msg']}" for fault in told
    )


def _advance(plan: Plan[Value], reply: Any) -> tuple[bool, Any]:
    """Return whether the plan is done, and its result or the next step."""
    try:
        return False, plan.send(reply)
    except StopIteration as end:
        return True, end.value


def _reply(model: Llava, step: Step) -> Sequence[Answer] | Sequence[float]:
    backend = model.backend
    if isinstance(step, Scored):
        return backend.score(step.request, step.labels)
    return answer_all(backend, step)


async def _areply(model: Llava, step: Step) -> Sequence[Answer] | Sequence[float]:
    if isinstance(step, Scored):
        return await asyncio.to_thread(_reply, model, step)
    return await aanswer_all(lambda: model.backend, step)
