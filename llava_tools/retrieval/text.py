"""Text layers as they are stored and looked up: words parted at a line's end are one word again.

pdfium writes U+FFFE for a hyphen at a line's end, in place of hyphen and line break. Other sources
write a soft hyphen (U+00AD), or a hyphen and a line break.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

#: A mark of a parted word between two letters or digits, with the line break after it.
_PARTED = re.compile(
    r"(?<=\w)(?P<mark>[\ufffe\x02\xad]+(?:[ \t]*[\r\n]+[ \t]*)?|[-\u2010][ \t]*[\r\n]+[ \t]*)(?=\w)"
)
_MARKS = "\ufffe\x02\xad"
_LIGATURES = {"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl"}


def clean_text(text: str) -> str:
    """Return a text layer with its parted words mended and its white space collapsed."""
    return "".join(part for part, _ in _pieces(text)).strip()


def find_span(text: str, words: str) -> tuple[int, int] | None:
    """Return start and end of the first place in a text layer that has these words.

    Ignores case, white space and parted words; the words must not be parts of longer ones.
    """
    pieces = list(_pieces(text))
    clean = "".join(part for part, _ in pieces)
    positions = [position for part, position in pieces for _ in part]
    wanted = clean_text(words)
    if not wanted:
        return None
    before = r"(?<!\w)" if wanted[0].isalnum() else ""
    after = r"(?!\w)" if wanted[-1].isalnum() else ""
    match = re.search(before + re.escape(wanted) + after, clean, re.IGNORECASE)
    if match is None and is_unspaced(wanted):
        match = re.search(re.escape(wanted), clean, re.IGNORECASE)
    if match is None:
        return None
    return positions[match.start()], positions[match.end() - 1] + 1


#: Characters of a heading, at most.
MAX_HEADING = 60
#: Number of a chapter or section, which a table of contents has and a reader leaves out.
_NUMBER = re.compile(r"^(?:(?:\d+|[A-Z])(?:\.\d+)*\.?|[IVX]+)\s+(?=\w)")
_LEADERS = re.compile(r"\.\s?\.\s?\.\s?\.")


def headings(text: str) -> str:
    """Return the short lines of a text layer as `heading_key` writes them, parted by spaces."""
    keys = (
        heading_key(line) for line in re.split(r"[\r\n]+", text) if len(line) <= 2 * MAX_HEADING
    )
    return " ".join(dict.fromkeys(key for key in keys if len(key) <= MAX_HEADING and key))


def heading_key(line: str) -> str:
    """Return a line as one word: its words in lower case, joined by underscores.

    It is without a section's number, and empty for a line of a table of contents.
    """
    line = clean_text(line)
    if _LEADERS.search(line):
        return ""
    return "_".join(re.findall(r"\w+", _NUMBER.sub("", line).lower()))


#: Letters of scripts that do not part all words by spaces: Thai, Lao, Myanmar, Khmer; kana, Han,
#: Hangul. Korean parts words, but joins endings to them.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3100-\u312f\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003134f"
)
#: A word, a letter of such a script, or punctuation: a character, once or in a row.
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+|([^\w\s{_MARKS}])\1*")
_UNSPACED_RUN = re.compile(f"[{UNSPACED}]+")


def is_unspaced(text: str) -> bool:
    """Return whether a text has letters of a script without spaces between words."""
    return _UNSPACED_RUN.search(text) is not None


def without_unspaced(text: str) -> str:
    """Return a text with spaces for the letters of such scripts."""
    return _UNSPACED_RUN.sub(" ", text)


def letter_pairs(text: str) -> list[str]:
    """Return the pairs of neighbouring letters of such scripts, and letters without a neighbour."""
    pairs: list[str] = []
    for run in _UNSPACED_RUN.findall(text):
        pairs += [run[start : start + 2] for start in range(max(1, len(run) - 1))]
    return pairs


def _pieces(text: str) -> Iterator[tuple[str, int]]:
    """Yield a clean text in parts, each with its position in the raw text."""
    position, spaced = 0, True
    while position < len(text):
        character = text[position]
        if match := _PARTED.match(text, position):
            if mark := _kept_mark(text, match):
                yield mark, position
            position = match.end()
            continue
        if character in _MARKS:
            pass
        elif not character.isspace():
            yield _LIGATURES.get(character, character), position
            spaced = False
        elif not spaced:
            yield " ", position
            spaced = True
        position += 1


def _kept_mark(text: str, match: re.Match[str]) -> str:
    """Return the hyphen of a compound such as MS-DOS or Makefile-Dateien; else nothing."""
    before, after = text[match.start() - 1], text[match.end()]
    mark = match["mark"]
    if mark[0] == "\xad":
        return ""
    if mark[0] in _MARKS:
        return "-" if before.islower() and after.isupper() else ""
    return "" if before.islower() and after.islower() else "-"
