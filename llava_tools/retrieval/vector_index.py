"""Vector search: the index of the pages' vectors (IVF with 8-bit codes), and the query of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: Pages from which vectors get an index; with fewer, a search compares all vectors.
MIN_INDEXED_PAGES = 10_000
#: Partitions of that index. A search probes all of them, so it also finds pages added after the
#: index was built; only the 8-bit codes save time.
PARTITIONS = 64
#: A search re-ranks this multiple of `limit` candidates by their full vectors.
REFINE_FACTOR = 2


def index_vectors(table: Any) -> None:
    """Create the index of the vectors of the table `pages`, in place of one that it has."""
    from lancedb.index import IvfSq

    # All partitions are probed, so their centres matter little: train them quickly.
    options: dict[str, Any] = {"num_partitions": PARTITIONS, "max_iterations": 10}
    config = IvfSq(distance_type="cosine", sample_rate=64, **options)
    table.create_index("vector", config=config)


def vector_query(table: Any, vector: Sequence[float]) -> Any:
    """Return LanceDB's query of the pages nearest to a vector of any length above 0."""
    query = table.search(list(vector), vector_column_name="vector")
    return query.distance_type("cosine").nprobes(PARTITIONS).refine_factor(REFINE_FACTOR)
