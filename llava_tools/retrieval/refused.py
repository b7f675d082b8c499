"""PDFs that an index does not try again: they exceed the limits of `pdf_process`, or crash pdfium.

They are known by their content, so that neither a copy nor the next update takes the time again.
With other limits or another version of pypdfium2, they are tried once more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.metadata import version

from llava_tools.retrieval import pdf_process
from llava_tools.retrieval.files import Skipped
from llava_tools.retrieval.store import Store

#: Name of the value in the index.
_NAME = "refused"


def load_refused(store: Store) -> dict[str, str]:
    """Return the reasons by the digests of the files' content; none if the list is damaged."""
    try:
        stored = json.loads(store.values.get(_NAME) or "{}")
    except ValueError:
        return {}
    if not isinstance(stored, dict) or stored.get("limits") != _limits():
        return {}
    reasons = stored.get("reasons")
    return dict(reasons) if isinstance(reasons, dict) else {}


def refused_reasons(skipped: Iterable[Skipped]) -> dict[str, str]:
    """Return those of the skipped files that are not to be tried again, by their digests."""
    return {item.digest: item.reason for item in skipped if item.digest}


def remember_refused(store: Store, skipped: Iterable[Skipped]) -> None:
    """Add the files among the skipped ones that are not to be tried again."""
    known, new = load_refused(store), refused_reasons(skipped)
    if new.keys() - known.keys():
        store.values.put(_NAME, json.dumps({"limits": _limits(), "reasons": known | new}))


def _limits() -> list[object]:
    return [pdf_process.MAX_SECONDS, pdf_process.MAX_MEMORY, version("pypdfium2")]
