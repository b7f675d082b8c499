"""Merges the answers that one question got from several pages."""

from __future__ import annotations

from collections.abc import Sequence

from llava_tools.retrieval.answers import Citation
from llava_tools.tools.compare import normalize_answer


def merge_answers(citations: Sequence[Citation]) -> tuple[list[Citation], list[Citation], float]:
    """Return the pages with the most probable answer, the others, and its probability.

    `citations` are ordered, best page first. An answer's probability is a sum over the pages: the
    page's probability times that of the answer on that page, as in RAG-Sequence (Lewis et al.
    2020). A page's probability falls with the square of its rank: of 36 questions
    (`benchmarks.pages`, `tuning`), the first page was right in 25, the second in 4, the third in 1.
    Search scores depend on ranks themselves and say less.
    """
    weights: dict[str, float] = {}
    total = sum(rank**-2 for rank in range(1, len(citations) + 1))
    for rank, citation in enumerate(citations, start=1):
        key = normalize_answer(citation.answer)
        weights[key] = weights.get(key, 0.0) + rank**-2 / total * citation.certainty
    best = max(weights, key=lambda key: (bool(key), weights[key]))
    cited = [citation for citation in citations if normalize_answer(citation.answer) == best]
    others = [citation for citation in citations if normalize_answer(citation.answer) != best]
    return cited, others, round(weights[best], 3)
