"""`VisualTool`: name, description, arguments and function of a tool, for every framework."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    WithJsonSchema,
    create_model,
    model_serializer,
)

from llava_tools.chat import image_handles
from llava_tools.errors import RequestError
from llava_tools.images import ImageRef
from llava_tools.images.access import ImageResolver
from llava_tools.model import Llava
from llava_tools.tools.requests import (
    RequestGenerator,
    RequestSender,
    arun_requests,
    run_requests,
)

A = TypeVar("A", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)


class ToolArguments(BaseModel):
    """Base of all arguments; unknown arguments are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ToolResult(BaseModel):
    """Base of all results.

    Its fields are plain data, so that a stored result can be restored: a checkpoint of LangGraph
    restores it as it was, and `RESULT_TYPES[tool].model_validate(data)` makes one of a dict.

    Attributes:
        program_only: Fields for the program, which the agent does not read; pydantic's `exclude`.
    """

    model_config = ConfigDict(frozen=True)

    program_only: ClassVar[Any] = None

    def __str__(self) -> str:
        """Return the text for the agent: JSON without default values."""
        return self.model_dump_json(exclude_defaults=True, exclude=self.program_only)

    def model_dump(self, **options: Any) -> dict[str, Any]:
        """Return the fields as a dict."""
        context = {**(options.pop("context", None) or {}), _OWN_DUMP: True}
        return super().model_dump(**options, context=context)

    @model_serializer(mode="wrap")
    def _keep(self, dump: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
        # A message that holds a result would turn it into a dict of no type when it is dumped.
        if info.mode == "python" and not (info.context or {}).get(_OWN_DUMP):
            return self
        return dump(self)


#: Key of the serialization context of `ToolResult.model_dump`.
_OWN_DUMP = "llava_tools.own_dump"

#: A question, or a few words about what to look for.
Text = Annotated[str, Field(min_length=1, max_length=500)]
#: An image's handle. The pattern guides models that write calls; chat/image_handles.py narrows it
#: to the images of the conversation. The `ImageResolver` decides which names open an image.
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


class ImageArguments(ToolArguments):
    """An image to look at."""

    image: ImageName


def _whole_image(arguments: Any, resolver: ImageResolver) -> ImageRef:
    return resolver.open(arguments.image)


@dataclass(frozen=True)
class VisualTool(Generic[A, R]):
    """A tool that looks at images.

    Attributes:
        name: The name in calls.
        description: What it does and returns, for the agent.
        arguments: Model of its arguments.
        function: From arguments and the resolver of images to the result; yields requests.
        subject: The argument that names what a call is about; None if none does. One that the
            arguments do not have is added by `existence.check_existence`.
        view: From arguments and the resolver to the image, or its region, that a call is about.
        can_refuse: Whether `existence.AbsentResult` may come instead of the result.
    """

    name: str
    description: str
    arguments: type[A]
    function: Callable[[A, ImageResolver], RequestGenerator[R]]
    subject: str | None = None
    view: Callable[[A, ImageResolver], ImageRef] = _whole_image
    can_refuse: bool = False

    def run(
        self, model: Llava | RequestSender, arguments: A, resolver: ImageResolver | None = None
    ) -> R:
        """Run the tool.

        Args:
            model: Looks at the images; or what sends the requests to a model.
            arguments: See `parse`.
            resolver: Opens the images that arguments name; by default those in the store of the
                process.

        Raises:
            RequestError: An unknown image, or arguments that do not fit it.
            ModelError: The model cannot be loaded.
            EngineError: The engine could not finish, or (`OutputError`) returned no usable answer.
        """
        return run_requests(model, self.function(arguments, resolver or ImageResolver()))

    async def arun(
        self, model: Llava | RequestSender, arguments: A, resolver: ImageResolver | None = None
    ) -> R:
        """`run` without blocking the event loop; cancelling the task stops the generation."""
        return await arun_requests(model, self.function(arguments, resolver or ImageResolver()))

    def parse(self, arguments: object) -> A:
        """Check the arguments of a call: a mapping, or its JSON.

        Raises:
            RequestError: Arguments that do not fit; the message names them.
        """
        try:
            if isinstance(arguments, str):
                return self.arguments.model_validate_json(arguments)
            return self.arguments.model_validate(arguments)
        except ValidationError as error:
            raise RequestError(
                f"{self.name}: {argument_errors(error)}.",
                f"It takes: {', '.join(self.arguments.model_fields)}.",
            ) from None

    def for_resolver(self, resolver: ImageResolver) -> Self:
        """Return the tool with arguments for all image names that the resolver can open."""
        if resolver.handles_only:
            return self
        base: Any = self.arguments
        fields: Any = {"image": AnyName, "images": AnyNames}
        fields = {name: fields[name] for name in base.model_fields if name in fields}
        return replace(self, arguments=create_model(base.__name__, __base__=base, **fields))

    @property
    def parameters(self) -> dict[str, Any]:
        """JSON schema of the arguments, without titles."""
        schema = self.arguments.model_json_schema()
        del schema["title"]
        schema.pop("description", None)
        for field in schema["properties"].values():
            del field["title"]
        return schema


def argument_errors(error: ValidationError) -> str:
    """Return pydantic's errors as one line."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'arguments'}: {item['msg']}" for item in errors
    )
