"""What names of images lead to: each allowed end of an attack occurs, and a fault is found."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path

import pytest

from llava_tools.images import fetch, opening
from llava_tools.images.access import ImageResolver
from tests.hardening import paths, swaps, urls
from tests.hardening.url_forms import forms


def test_there_are_many_forms_of_urls() -> None:
    assert len({(form.url, form.location) for form in forms()}) >= 280


def test_some_urls_are_refused_by_the_host_that_they_name() -> None:
    outcomes = urls.attack(len(list(forms())), 2).outcomes
    assert outcomes["refused"] > 100
    assert outcomes["refused by the public host that it names"] > 3


def test_urls_find_a_missing_check_of_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "is_public", lambda address: True)
    findings = urls.attack(60, 1).findings
    assert any("connections to [('127.0.0.1'" in finding for finding in findings)
    assert "the listener on this machine had" in findings[-1]


def test_some_paths_are_opened_in_the_allowed_folder() -> None:
    outcomes = paths.attack(paths.ATTACK.short, 2).outcomes
    assert outcomes["refused"] > 300
    assert outcomes["opened in the allowed folder"] > 3
    assert outcomes["opened for the developer's own code"] > 3


def test_paths_find_a_missing_check_of_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    def anywhere(path: str | Path, directories: Iterable[Path]) -> BufferedReader:
        return opening.open_regular(path)

    monkeypatch.setattr("llava_tools.images.sources.open_regular_within", anywhere)
    monkeypatch.setattr(ImageResolver, "_within", lambda self, name: Path(name))
    findings = paths.attack(paths.ATTACK.short, 1).findings
    assert any("a secret is shown" in finding for finding in findings)


@pytest.mark.skipif(sys.platform == "win32", reason="links need permissions there")
def test_some_swapped_files_are_opened_and_some_refused() -> None:
    outcomes = swaps.attack(swaps.ATTACK.short, 1).outcomes
    assert outcomes["opened in the allowed folder"] > 0
    assert outcomes["refused"] > 0
