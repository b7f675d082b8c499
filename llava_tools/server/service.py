"""`Service`: what all routes share: the model, its users, and the index."""

from __future__ import annotations

import logging
import threading
from functools import cached_property
from typing import TYPE_CHECKING

from llava_tools.core.backend import measures_evidence
from llava_tools.embedding import Embedder
from llava_tools.errors import (
    EngineClosedError,
    EngineError,
    LlavaToolsError,
    ModelNotFoundError,
    on_one_line,
)
from llava_tools.model import Llava
from llava_tools.server.admission import Admission
from llava_tools.server.errors import ModelLoadingError
from llava_tools.server.options import ServerOptions
from llava_tools.server.users import Users

if TYPE_CHECKING:
    from llava_tools.retrieval import PageIndex

_log = logging.getLogger(__name__)


class Service:
    """The object behind all routes, `request.app.state.service`.

    Args:
        options: Of the server.
        model: Answers the requests.
        embedder: Embeds texts and images; by default the model's vision tower with its CLIP.

    Attributes:
        options: Of the server.
        model: Answers the requests.
        users: Those who may use the server.
        admission: Counts the requests that wait or run.
    """

    def __init__(
        self, options: ServerOptions, model: Llava, embedder: Embedder | None = None
    ) -> None:
        self.options = options
        self.model = model
        self.users = Users(options)
        self.admission = Admission(options)
        self._embedder = embedder
        self._loaded = threading.Event()
        self._loaded_name = ""
        self._context_length = 0
        self._measures_evidence = model.options.base_url is None
        self._load_error: LlavaToolsError | None = None

    def load(self) -> None:
        """Load the model, once. Requests are refused until it is loaded."""
        if self._loaded.is_set():
            return
        unforeseen = EngineError("The model cannot be loaded.", "The server's log has the cause.")
        self._load_error = unforeseen
        try:
            self.model.warm_up()
            backend = self.model.backend
            self._loaded_name, self._context_length = backend.model_name, backend.context_length
            self._measures_evidence = measures_evidence(backend)
            self._load_error = None
            _log.info("model %s is ready", on_one_line(self.model_name))
        except EngineClosedError as error:  # the server ended meanwhile
            self._load_error = error
            _log.info("the model was closed while it was loaded")
        except LlavaToolsError as error:
            self._load_error = error
            _log.error("the model cannot be loaded: %s", error)
        finally:
            self._loaded.set()

    @property
    def is_loaded(self) -> bool:
        """Whether the model has been loaded, at least once."""
        return self._loaded.is_set() and self._load_error is None

    def check_loaded(self) -> None:
        """Check that requests can be answered.

        Raises:
            ModelLoadingError: The model is being loaded.
            ModelError: It cannot be loaded.
        """
        if not self._loaded.is_set():
            raise ModelLoadingError("The model is being loaded.", "Try again in a moment.")
        if self._load_error is not None:
            raise self._load_error

    @property
    def model_name(self) -> str:
        """The name of the model that clients are shown."""
        return self.model_names[0]

    @property
    def model_names(self) -> tuple[str, ...]:
        """The names under which clients may request the model."""
        options = self.model.options
        own = () if options.base_url else (options.source, options.model)
        loaded = (self._loaded_name,) if self._loaded_name else ()
        return tuple(dict.fromkeys((*self.options.model_names, *loaded, *own))) or ("llava",)

    @property
    def context_length(self) -> int:
        """Maximum number of tokens of prompt and answer together, without loading a model again.

        Raises:
            ModelLoadingError: The model is being loaded.
            ModelError: It cannot be loaded.
        """
        self.check_loaded()
        return self._context_length

    @property
    def measures_evidence(self) -> bool:
        """Whether the model says what its answers depend on; before it is loaded, a guess."""
        return self._measures_evidence

    def check_model(self, name: str) -> None:
        """Check the model that a client requests.

        Raises:
            ModelNotFoundError: It is not the one that is served.
        """
        if name not in self.model_names:
            raise ModelNotFoundError(
                f"The model {name!r:.80} is not served here.",
                f"Request {self.model_name!r}, or start the server with --model-name {name:.80}.",
            )

    @cached_property
    def embedder(self) -> Embedder:
        """Embeds texts and images."""
        if self._embedder is not None:
            return self._embedder
        options = self.model.options
        return Embedder(options.model, device=options.device, revision=options.revision)

    @cached_property
    def index(self) -> PageIndex | None:
        """The index that may be searched, if there is one."""
        if self.options.index is None:
            return None
        from llava_tools.retrieval import PageIndex  # loads slowly

        return PageIndex(self.options.index)

    def close(self) -> None:
        """Release the model."""
        self.model.close()
