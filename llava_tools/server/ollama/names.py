"""Names of the model in Ollama's API: `model:tag`, in any case, `latest` being the default tag.

The server has one model. It is listed as `llava` with its size as the tag, and under the names that
the server was started with. `llava` alone is whichever LLaVA is served.
"""

from __future__ import annotations

from llava_tools.errors import ModelNotFoundError
from llava_tools.options import ALIASES
from llava_tools.server.service import Service

_FAMILY = "llava"
_DEFAULT_TAG = "latest"


def listed_names(service: Service) -> tuple[str, ...]:
    """Return the names under which clients see the model, the main one first."""
    names = (main_name(service), *map(with_tag, service.options.model_names))
    return tuple(dict.fromkeys(names))


def main_name(service: Service) -> str:
    """Return `llava` with the size of the model as its tag, if that is known."""
    return f"{_FAMILY}:{size_of(service) or _DEFAULT_TAG}"


def size_of(service: Service) -> str:
    """Return `tiny`, `0.5b`, `7b` or `13b`; "" for another model."""
    options = service.model.options
    if options.base_url:
        return ""
    return next((size for size, source in ALIASES.items() if source == options.source), "")


def check_model(service: Service, name: str) -> None:
    """Check the model that a client requests.

    Tags of Ollama's library such as `7b-v1.5-q4_0` name the model of that size in whichever
    precision is served.

    Raises:
        ModelNotFoundError: It is not the one that is served.
    """
    size = size_of(service)
    names = (_FAMILY, main_name(service), *service.model_names)
    wanted = with_tag(name).lower()
    is_precision = size != "" and wanted.startswith(f"{_FAMILY}:{size}-v1.5")
    if not is_precision and wanted not in {with_tag(known).lower() for known in names}:
        raise ModelNotFoundError(
            f"model '{name:.80}' not found: this server has {', '.join(listed_names(service))}.",
            "Request that, or start the server with that model (--model) or name (--model-name).",
        )


def with_tag(name: str) -> str:
    """Return a name with its tag; a colon before a slash belongs to an address."""
    return name if ":" in name.rpartition("/")[2] else f"{name}:{_DEFAULT_TAG}"
