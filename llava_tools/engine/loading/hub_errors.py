"""What requests to the Hugging Face hub raise, as errors of this package."""

from __future__ import annotations

from huggingface_hub import constants
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is the client's
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from llava_tools.errors import ModelNotFoundError

#: What requests and downloads raise. The hub's own errors are `OSError`s, as is a full disk.
FAILURES = (HTTPError, OSError, HFValidationError)
_NO_CONNECTION = (LocalEntryNotFoundError, ConnectionError, TimeoutError)


def failure_of(repository: str, revision: str, error: BaseException) -> ModelNotFoundError:
    """Return the error of a request or download that failed."""
    page = f"https://huggingface.co/{repository}"
    log_in = "run `hf auth login` or set HF_TOKEN"
    if isinstance(error, GatedRepoError):
        return ModelNotFoundError(
            f"{repository!r} is gated: its authors give access on request.",
            f"Request access on {page}, then {log_in}.",
        )
    if isinstance(error, RevisionNotFoundError):
        return ModelNotFoundError(
            f"{repository!r} has no revision {revision!r}.",
            f"Its branches and tags are on {page}/tree/main.",
        )
    if isinstance(error, RepositoryNotFoundError):
        return ModelNotFoundError(
            f"The hub has no repository {repository!r}, or it is private.",
            f"Check the name. If it is private, {log_in}.",
        )
    if isinstance(error, HFValidationError):
        return ModelNotFoundError(
            f"{repository!r} is no name of a repository: {_reason(error)}.",
            "Use a hub id like 'llava-hf/llava-1.5-7b-hf', or a folder.",
        )
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        return ModelNotFoundError(
            f"The hub answers requests for {repository!r} with {status}"
            f" {error.response.reason_phrase}.",
            f"Check your access token: {log_in}." if status in (401, 403) else "Try again later.",
        )
    if isinstance(error, OSError) and not isinstance(error, _NO_CONNECTION):
        return ModelNotFoundError(
            f"{repository!r} cannot be downloaded ({_reason(error)}).",
            f"Check that the cache {constants.HF_HUB_CACHE!r} can be written to.",
        )
    return ModelNotFoundError(
        f"The hub cannot be reached for {repository!r} ({_reason(error)}).",
        "Check the network, or name a local folder.",
    )


def _reason(error: BaseException) -> str:
    cause = error.__cause__ or error
    text = str(cause).strip().split("\n")[0].rstrip(".")
    return text or type(cause).__name__
