"""The table `values` of an index: what was measured or learned about it, as texts by name.

All of it can be made anew, so in a folder a damaged table counts as an empty one.
"""

from __future__ import annotations

from typing import Any

from llava_tools.errors import IndexStoreError
from llava_tools.retrieval.location import IndexLocation
from llava_tools.retrieval.schema import quoted
from llava_tools.retrieval.tables import compact, table_names

_TABLE = "values"


class ValueTable:
    """Texts by name in an index; the first `put` creates the table."""

    def __init__(self, location: IndexLocation, database: Any) -> None:
        self._location = location
        self._database = database

    def get(self, name: str) -> str:
        """Return a text; empty if there is none.

        Raises:
            IndexStoreError: Object storage cannot be reached.
        """
        try:
            with self._location.translate_errors():
                if _TABLE not in table_names(self._database):
                    return ""
                query = self._database.open_table(_TABLE).search()
                rows = query.where(f"name = {quoted(name)}").select(["value"]).limit(1).to_list()
                return str(rows[0]["value"]) if rows else ""
        except IndexStoreError:
            if self._location.folder is None:  # the network may be at fault
                raise
            return ""

    def put(self, name: str, value: str) -> None:
        """Store a text in place of the one that the name had.

        Raises:
            IndexStoreError: The index cannot be written to.
        """
        try:
            self._merge(name, value)
        except IndexStoreError:
            with self._location.translate_errors():
                self._database.drop_table(_TABLE, ignore_missing=True)
            self._merge(name, value)

    def _merge(self, name: str, value: str) -> None:
        import pyarrow

        with self._location.translate_errors():
            new = pyarrow.table({"name": [name], "value": [value]})
            table = self._database.create_table(_TABLE, schema=new.schema, exist_ok=True)
            merge = table.merge_insert("name")
            merge.when_matched_update_all().when_not_matched_insert_all().execute(new)
            compact(table)
