"""`NamedBody`: a body that is about a model and holds nothing else that counts."""

from __future__ import annotations

from llava_tools.server.bodies import Body
from llava_tools.server.errors import InvalidFieldError


class NamedBody(Body):
    """A body with the name of a model; older clients call the field `name`."""

    model: str | None = None
    name: str | None = None

    @property
    def model_name(self) -> str:
        """The name of the model.

        Raises:
            InvalidFieldError: There is none.
        """
        if name := self.model or self.name:
            return name
        raise InvalidFieldError("The field model is missing.", "Add it.", "model")
