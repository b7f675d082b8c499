"""Converts LlamaIndex's metadata filters into conditions of `llava_tools.retrieval`."""

from __future__ import annotations

from collections.abc import Mapping

from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from llava_tools.errors import RequestError
from llava_tools.retrieval.filters import Condition, Conditions, Join, Operator

_OPERATORS: Mapping[FilterOperator, Operator] = {
    FilterOperator.EQ: "==",
    FilterOperator.NE: "!=",
    FilterOperator.GT: ">",
    FilterOperator.GTE: ">=",
    FilterOperator.LT: "<",
    FilterOperator.LTE: "<=",
    FilterOperator.IN: "in",
    FilterOperator.NIN: "not in",
    FilterOperator.TEXT_MATCH: "contains",
}
_JOINS: Mapping[FilterCondition, Join] = {
    FilterCondition.AND: "and",
    FilterCondition.OR: "or",
    FilterCondition.NOT: "none",
}


def to_page_filter(filters: MetadataFilters) -> Conditions:
    """Convert filters.

    Raises:
        RequestError: An operator, a key or a value that pages cannot be filtered by.
    """
    join = _JOINS[filters.condition or FilterCondition.AND]
    return Conditions(tuple(_part(part) for part in filters.filters), join)


def _part(part: MetadataFilter | MetadataFilters) -> Condition | Conditions:
    if isinstance(part, MetadataFilters):
        return to_page_filter(part)
    if part.operator not in _OPERATORS:
        names = ", ".join(operator.value for operator in _OPERATORS)
        raise RequestError(
            f"Pages cannot be filtered by the operator {part.operator.value!r}.", f"Use {names}."
        )
    if part.value is None:
        raise RequestError(f"The filter of {part.key} has no value.", "Give it one.")
    value: str | int | float | tuple[str | int | float, ...]
    value = (*part.value,) if isinstance(part.value, list) else part.value
    return Condition(part.key, _OPERATORS[part.operator], value)
