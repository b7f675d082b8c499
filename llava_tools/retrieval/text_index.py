"""Full-text search: which indexes a page's text has, and the query of them.

Four columns have an index; their BM25 scores add up.

- `text`: words as ICU parts them, in every language, stemmed in English; none is left out, so short
  ones, stop words and part numbers are found. It has positions: pages with the whole query as a
  phrase gain.
- `ngrams`: the text again, in runs of four characters: other forms of a word, parts of compounds.
- `unspaced`: pairs of letters of the scripts without spaces between words. ICU parts Japanese,
  Chinese and Thai by dictionaries, not always in the query as on the page; words of Korean have
  endings.
- `headings`: short lines, each as one word. A page with the whole query as a line of its own is the
  section of that title, more likely than the table of contents or the alphabetical index.

Stop words are indexed, and left out of a query that has other words. Phrases in quotation marks
must be on the page.
"""

from __future__ import annotations

import re
from typing import Any

from llava_tools.errors import require
from llava_tools.retrieval.stop_words import STOP_WORDS
from llava_tools.retrieval.text import clean_text, find_span, heading_key, letter_pairs

#: LanceDB's options of each index.
_TOKENIZERS: dict[str, dict[str, Any]] = {
    "text": {"base_tokenizer": "icu/split", "with_position": True},
    "ngrams": {
        "base_tokenizer": "ngram",
        "ngram_min_length": 4,
        "ngram_max_length": 4,
        "stem": False,
    },
    "unspaced": {"base_tokenizer": "whitespace", "with_position": True, "stem": False},
    "headings": {"base_tokenizer": "whitespace", "stem": False},
}
#: The columns of `pages` that are searched for words.
TEXT_COLUMNS = tuple(_TOKENIZERS)
#: Weights of runs of characters, and of a whole line, beside words; `benchmarks` has the effects.
NGRAM_WEIGHT, HEADING_WEIGHT = 0.7, 2.0

_QUOTED = re.compile(r"[\"“”„]([^\"“”„]+)[\"“”]|«([^«»]+)»")


def search_columns(text: str) -> dict[str, str]:
    """Return the columns that are derived from a page's text."""
    return {"ngrams": text, "unspaced": " ".join(letter_pairs(text))}


def index_text(table: Any, column: str) -> None:
    """Create the index of a column of the table `pages`, in place of one that it has."""
    options = {"remove_stop_words": False, "max_token_length": None} | _TOKENIZERS[column]
    table.create_index(column, config=_lancedb().index.FTS(**options))


def text_query(query: str) -> Any:
    """Return LanceDB's full-text query of a query's words and phrases."""
    lance = _lancedb().query
    match, phrase_match, should = lance.MatchQuery, lance.PhraseQuery, lance.Occur.SHOULD
    words = clean_text(query)
    plain = " ".join(_QUOTED.sub(" ", words).split())
    telling = without_stop_words(words)
    parts: list[tuple[Any, Any]] = [
        (should, match(telling, "text")),
        (should, match(telling, "ngrams", boost=NGRAM_WEIGHT)),
    ]
    if key := heading_key(words):
        parts.append((should, match(key, "headings", boost=HEADING_WEIGHT)))
    if pairs := " ".join(letter_pairs(words)):
        parts.append((should, match(pairs, "unspaced")))
    if len(plain.split()) > 1:
        parts.append((should, phrase_match(plain, "text")))
    for phrase in phrases(query):
        # ICU may part a phrase differently on the page; pairs of letters are always the same.
        pairs = " ".join(pair for pair in letter_pairs(phrase) if len(pair) > 1)
        column = "unspaced" if pairs else "text"
        parts.append((lance.Occur.MUST, phrase_match(pairs or phrase, column)))
    return lance.BooleanQuery(parts)


def without_stop_words(query: str) -> str:
    """Return a query without its stop words; with them, if it has no other word.

    In capitals, as IT, they stay.
    """
    capitals = query.isupper()

    def is_stop_word(part: str) -> bool:
        words = re.findall(r"\w+", part)
        if not words or (part.isupper() and len(part) > 1 and not capitals):
            return False
        return STOP_WORDS.issuperset(map(str.lower, words))

    kept = [part for part in query.split() if not is_stop_word(part)]
    return " ".join(kept) if re.search(r"\w", "".join(kept)) else query


def phrases(query: str) -> list[str]:
    """Return the phrases in quotation marks that have a letter or a digit."""
    quoted = [clean_text(one or other) for one, other in _QUOTED.findall(query)]
    return [phrase for phrase in quoted if re.search(r"\w", phrase)]


def has_phrases(query: str, text: str) -> bool:
    """Return whether a page's text has all phrases of a query, word by word in any case."""
    return all(find_span(text, phrase) is not None for phrase in phrases(query))


def _lancedb() -> Any:
    require("lancedb", extra="documents")
    import lancedb.index
    import lancedb.query

    return lancedb
