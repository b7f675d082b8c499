"""Where an index is: a folder, or a prefix in object storage that LanceDB reads and writes.

Messages name it by `str(location)`, which has no credentials. `translate_errors` turns what the
storage raises into `IndexStoreError`, without the secrets of `storage_options`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from llava_tools.errors import IndexStoreError, LlavaToolsError, RequestError
from llava_tools.images.sources import shorten
from llava_tools.retrieval.process import check_process

#: Object stores that LanceDB knows: Amazon S3 and its like, Google Cloud Storage, Azure.
SCHEMES = ("s3", "gs", "az")
#: Names of storage options that hold secrets or identify an account.
_SECRET = re.compile(r"key|secret|token|password|credential|account|signature", re.IGNORECASE)

#: Parts of LanceDB's messages that say nothing to a user.
_INNER = re.compile(r"lance error: |LanceError\(\w+\): |,? ?\S+\.rs:\d+(:\d+)?")


@dataclass(frozen=True)
class IndexLocation:
    """A folder (`Path`), or a URI such as `s3://bucket/index` with LanceDB's `storage_options`."""

    path: Path | str
    storage_options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        folder: str | Path | IndexLocation,
        storage_options: Mapping[str, str] | None = None,
    ) -> IndexLocation:
        """Return the location that a folder or a URI names.

        Raises:
            RequestError: An empty name, a URI of another kind, one with credentials in it, or
                options of object storage for a folder.
        """
        if isinstance(folder, IndexLocation):
            return folder
        if folder == "":  # as of a shell's variable without a value
            raise RequestError("The name of the index is empty.", "Name its folder.")
        scheme, separator, _ = str(folder).partition("://")
        if isinstance(folder, Path) or not separator:
            if storage_options:
                raise RequestError(
                    f"storage_options are for object storage, and {shorten(folder)} is a folder.",
                    "Leave them out, or name a URI such as s3://bucket/index.",
                )
            return cls(Path(os.path.expanduser(folder)))
        if scheme not in SCHEMES:
            raise RequestError(
                f"An index cannot be kept at {shorten(scheme + '://')}.",
                f"Name a folder, or a URI of {', '.join(SCHEMES)}.",
            )
        parts = urlsplit(folder)
        if "@" in parts.netloc or parts.query:
            raise RequestError(
                f"The URI of an index at {scheme}:// has credentials or options in it.",
                "Put them into storage_options, or into the environment.",
            )
        return cls(folder.rstrip("/"), dict(storage_options or {}))

    def __str__(self) -> str:
        return str(self.path)

    @property
    def folder(self) -> Path | None:
        """The folder; None in object storage."""
        return self.path if isinstance(self.path, Path) else None

    def translate_errors(self) -> _ErrorTranslation:
        """Return a context that raises what LanceDB, Arrow and the disk raise as our errors."""
        return _ErrorTranslation(self)

    def without_secrets(self, text: str) -> str:
        """Return a text with the secrets of `storage_options` replaced by asterisks."""
        for name, value in self.storage_options.items():
            if value and _SECRET.search(name):
                text = text.replace(value, "***")
        return text


class _ErrorTranslation:
    """Turns errors of the storage into `IndexStoreError`; ours pass.

    It is a class, since a panic of LanceDB's Rust is a `BaseException` that cannot be imported.
    """

    #: What LanceDB (RuntimeError, ValueError), Arrow (ValueError) and the disk raise for damaged or
    #: foreign data. Others, as TypeError, are faults of this package.
    _KINDS = (OSError, RuntimeError, ValueError)
    _PANICS = ("PanicException", "RustPanic")

    def __init__(self, location: IndexLocation) -> None:
        self._location = location

    def __enter__(self) -> None:
        check_process()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, LlavaToolsError):
            return
        if isinstance(error, self._KINDS) or type(error).__name__ in self._PANICS:
            translated = _translate(self._location, error)
            # The cause of an error in object storage may repeat the request's secrets.
            raise translated from (error if self._location.folder else None)


def _translate(location: IndexLocation, error: BaseException) -> IndexStoreError:
    if isinstance(error, OSError) and error.errno is not None:
        reason = os.strerror(error.errno)
    else:
        reason = " ".join(location.without_secrets(str(error)).split())
        reason = _INNER.sub("", reason)
    reason = shorten(reason, quote=False) or type(error).__name__
    where = shorten(location)
    if _is_full(error):
        return IndexStoreError(
            f"The index in {where} cannot be written: {reason}.",
            "Free some space and index again: pages that were indexed are kept.",
        )
    if location.folder is None:
        hint = "Check bucket, region, endpoint and credentials (storage_options)."
    else:
        hint = (
            "If the disk works, it is damaged: index again, which mends what it can; if that "
            "fails, delete the folder and index again."
        )
    return IndexStoreError(f"The index in {where} cannot be used ({reason}).", hint)


def _is_full(error: BaseException) -> bool:
    text = str(error)
    return any(part in text for part in ("No space left", "File too large", "quota exceeded"))
