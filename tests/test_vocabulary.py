"""The words of code and docs: the field's terms, none of the private words of earlier versions."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("llava_tools", "integrations", "tests", "benchmarks", "examples")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *ROOT.glob("docs/*.md"),
]

#: Words that describe no value: its noun does.
PRIVATE = {"told", "asked", "said", "given", "whom", "seam", "eye", "eyes", "patience", "gallery"}
PRIVATE |= {"album", "convoy", "warming"}
#: Models and people read "picture" in texts; code and docs call it an image.
DRAWING = {"picture", "pictures"}
MOST_PLAIN_USES = 40

#: The name of a function that a model reads.
READ_BY_MODELS = {"open_picture"}


def _parts(identifier: str) -> set[str]:
    """Return the words of a snake_case or CamelCase identifier."""
    snake = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", identifier)
    return set(snake.lower().split("_"))


def _identifiers(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        # `given` is hypothesis's own name: imported, and the decorator of its tests.
        if (
            token.type == tokenize.NAME
            and "@given(" not in token.line
            and not (token.line.startswith("from hypothesis import"))
        ):
            yield token.start[0], token.string


def _prose(source: str) -> Iterator[str]:
    """Yield comments and docstrings, those of attributes too."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield str(node.value.value)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_identifiers_use_the_fields_terms(path: Path) -> None:
    forbidden = PRIVATE | DRAWING
    wrong = [
        (line, name)
        for line, name in _identifiers(path.read_text())
        if _parts(name) & forbidden and name not in READ_BY_MODELS
    ]
    assert not wrong
    assert not _parts(path.stem) & forbidden


def test_prose_hardly_uses_the_private_words() -> None:
    texts = [text for path in FILES for text in _prose(path.read_text())]
    texts += [page.read_text() for page in PAGES]
    uses = [word for text in texts for word in _words(text) if word in PRIVATE]
    assert len(uses) <= MOST_PLAIN_USES, uses


def test_docstrings_and_comments_say_image() -> None:
    wrong = [
        (str(path.relative_to(ROOT)), text.strip().splitlines()[0])
        for path in FILES
        if path != Path(__file__)
        for text in _prose(path.read_text())
        if DRAWING & set(_words(_without_code(text)))
    ]
    assert not wrong


def _without_code(text: str) -> str:
    """Return prose without what it quotes: code, names of files, texts of prompts."""
    return re.sub(r"``?[^`]+``?|\"[^\"]*\"|'[^']*'", "", text)
