"""Loads and unloads the model for clients, as far as the server's own `keep_alive` allows."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from starlette.exceptions import HTTPException

from llava_tools import model_cache
from llava_tools.server.service import Service

#: How long a model that is never unloaded stays, for clients, which need a date.
_FOREVER = timedelta(days=100 * 365)


def load(service: Service) -> None:
    """Load the model if it has been unloaded.

    Raises:
        ModelLoadingError: The server is loading it for the first time.
        ModelError: It cannot be loaded.
    """
    service.check_loaded()
    _ = service.model.backend


def unload(service: Service) -> None:
    """Unload the model, which the next request loads again.

    Raises:
        HTTPException: 409, the server never unloads it, or it answers other requests.
    """
    if math.isinf(service.model.options.idle_seconds):
        raise HTTPException(
            409,
            "The model stays loaded. Start the server with --keep-alive to let it be unloaded.",
        )
    if not model_cache.engines.unload(service.model.options):
        raise HTTPException(409, "The model answers other requests. Try again later.")


def unload_if_idle(service: Service) -> None:
    """Unload the model, unless others use it or the server never unloads it."""
    if not math.isinf(service.model.options.idle_seconds):
        model_cache.engines.unload(service.model.options)


def expiry(service: Service) -> datetime | None:
    """Return when the model will be unloaded if no request comes; None if it is not loaded."""
    if not service.is_loaded:
        return None
    options = service.model.options
    if math.isinf(options.idle_seconds):
        return datetime.now(UTC) + _FOREVER
    seconds = model_cache.engines.seconds_left(options)
    return None if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds)
