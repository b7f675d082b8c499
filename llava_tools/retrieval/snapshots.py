"""An index as it was at one moment, and the latest one, for objects that stay open for long."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from typing import TypeVar

from llava_tools.errors import IndexStoreError
from llava_tools.retrieval.calibration import VectorCalibration
from llava_tools.retrieval.location import IndexLocation
from llava_tools.retrieval.store import Store

Result = TypeVar("Result")

#: Seconds after which an index in object storage is compared with what is stored there.
REFRESH_SECONDS = 2.0


class Snapshot:
    """An index's tables as they were when they were opened, with their calibration."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @cached_property
    def calibration(self) -> VectorCalibration:
        """Reliability of the vectors."""
        return VectorCalibration.load(self.store)

    @cached_property
    def has_useful_vectors(self) -> bool:
        """Whether a hybrid search needs them: some page has no text, or they find texts."""
        return self.calibration.image_weight > 0 or self.store.count(without_text=True) > 0


class LatestSnapshot:
    """Keeps a snapshot, and opens another one when the index was written meanwhile.

    A pickle of it holds the location only.
    """

    def __init__(self, location: IndexLocation) -> None:
        self._location = location
        self._snapshot: Snapshot | None = None
        self._checked = 0.0

    def __reduce__(self) -> tuple[type[LatestSnapshot], tuple[IndexLocation]]:
        return LatestSnapshot, (self._location,)

    def get(self, *, refresh: bool = False) -> Snapshot:
        """Return the index as it is now; in object storage, as it was `REFRESH_SECONDS` ago.

        `refresh` compares it in any case.

        Raises:
            IndexStoreError: There is no index, or it is damaged, or another version's.
        """
        snapshot, now = self._snapshot, time.monotonic()
        if snapshot is None:
            snapshot, self._checked = Snapshot(Store(self._location)), now
        elif refresh or self._location.folder or now - self._checked > REFRESH_SECONDS:
            store = snapshot.store.latest()
            if store is not snapshot.store:
                snapshot = Snapshot(store)
            self._checked = now
        self._snapshot = snapshot
        return snapshot

    def read(self, function: Callable[[Snapshot], Result]) -> Result:
        """Return what a function reads of the latest snapshot.

        If that fails since an update removed its files meanwhile, the function reads the next one.
        """
        snapshot = self.get()
        while True:
            try:
                return function(snapshot)
            except IndexStoreError:
                failed, snapshot = snapshot, self.get(refresh=True)
                if snapshot is failed:
                    raise

    def forget(self) -> None:
        """Let the next `get` open the index, whose calibration may have changed."""
        self._snapshot = None
