"""The form of error messages."""

from __future__ import annotations

import importlib.metadata
import pickle
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from llava_tools.errors import (
    LlavaToolsError,
    MissingExtraError,
    OutputError,
    RequestError,
    ServerError,
    install_command,
)

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "error",
    [
        RequestError("Bad  value.\n", "Use a\nbetter one."),
        MissingExtraError("torch", "torch"),
        OutputError("Cut off.", "Allow more.", "The first words\nof an answer"),
    ],
)
def test_errors_are_one_line_and_survive_pickling(error: LlavaToolsError) -> None:
    assert "\n" not in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))
    assert vars(again) == vars(error)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("'http://user:secret@host/a@b' is no image.", "'http://host/a@b' is no image."),
        (
            "data:image/png;base64,https://:secret@host:80/",
            "data:image/png;base64,https://host:80/",
        ),
        ("http://a@b@host and ftp://secret@host", "http://host and ftp://host"),
        ("Write to a@b.example, see http://host/?mail=a@b", None),
    ],
)
def test_i9_errors_show_no_credentials_of_urls(text: str, shown: str | None) -> None:
    error = RequestError(text, text)
    assert error.message == error.hint == (shown or text)


def test_h7_hint_installs_the_packages_that_the_extra_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The extra itself has no name on a registry, and none in a source checkout."""
    requirements = [
        "pillow>=11",
        "torch>=2.13; extra == 'torch'",
        "numpy>=2; extra == 'torch'",
        'transformers<6,>=5 ; python_version > "3" and extra == "torch"',
        "openai>=3; extra == 'remote'",
    ]

    def version(name: str) -> str:
        if name == "numpy":
            return "2.3"
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", lambda name: requirements)
    monkeypatch.setattr(importlib.metadata, "version", version)
    install = ["python", "-m", "pip", "install"]
    command = install_command("torch", "torch")
    assert shlex.split(command) == [*install, "torch>=2.13", "transformers<6,>=5"]
    assert str(MissingExtraError("torch", "torch")).endswith(f"extra 'torch'. Run: {command}")
    assert shlex.split(install_command("numpy", "torch"))[4:] == [
        "torch>=2.13",
        "numpy>=2",
        "transformers<6,>=5",
    ]
    monkeypatch.setattr(importlib.metadata, "requires", version)  # not installed at all
    assert shlex.split(install_command("torch", "torch")) == [*install, "torch"]


def test_h9_every_extra_belongs_to_code_that_names_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"]) - {"all", "dev", "docs", "notebooks"}
    sources = [
        path.read_text()
        for folder in ("llava_tools", "integrations")
        for path in (ROOT / folder).rglob("*.py")
    ]
    pattern = r"""(?:extra=|MissingExtraError\("[\w-]+", )"([\w-]+)\""""
    named = {name for source in sources for name in re.findall(pattern, source)}
    assert extras <= named


def test_i7_messages_are_printable_and_bounded() -> None:
    """A server's reason phrase, a header or a file's name may become part of a message."""
    assert ServerError("a\nb\u2028c", "d\r\ne").message == r"a b\u2028c"
    error = ServerError(f"The server says \x1b[31m{'x' * 10_000}\u202e\x9b.", "Ask\ragain.\x07")
    assert len(error.message) <= 2_000
    assert str(error).startswith(r"The server says \x1b[31mxxx")
    assert str(error).endswith(r"x\u202e\x9b. Ask\ragain.\x07")
    for text in (str(error), error.message, error.hint):
        assert text.isprintable()
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
