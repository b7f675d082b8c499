"""Chat templates of strangers: limits of time and memory, and errors of any kind."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from llava_tools.engine.loading import template_process
from llava_tools.engine.loading.template_process import render_template

CONVERSATIONS = [[{"role": "user", "content": "Hi"}]]
QUESTION = "{{ messages[0]['content'] }}"


def _render(template: str) -> str | None:
    (prompt,) = render_template(template, CONVERSATIONS, {"bos_token": "<s>"})
    return prompt


def test_prompts_of_several_conversations_are_those_of_transformers() -> None:
    conversations = [*CONVERSATIONS, [{"role": "user", "content": [{"type": "text"}]}]]
    template = "{{ bos_token }}{{ messages[0]['content'].upper() }}{% if add_generation_prompt %}:"
    assert render_template(template + "{% endif %}", conversations, {"bos_token": "<s>"}) == [
        "<s>HI:",
        None,
    ]


@pytest.mark.parametrize(
    "template",
    [
        pytest.param(
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
            id="nested loops",
        ),
        pytest.param(
            "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}"
            "{{ f(60) }}",
            id="macros that call themselves",
        ),
    ],
)
def test_a_template_without_end_is_stopped(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_process, "SECONDS", 0.3)
    start = time.monotonic()
    assert _render(template + QUESTION) is None
    assert time.monotonic() - start < 30


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_template_that_takes_more_memory_than_it_may_writes_nothing() -> None:
    assert _render("{% set text = 'a' * 500000000 %}" + QUESTION) is None
    assert _render("{% set text = 'a' * 1000000 %}" + QUESTION) == "Hi"


@pytest.mark.parametrize(
    "template",
    [
        "{{ 1 / 0 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ ''.__class__.__base__ }}{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ raise_exception('no') }}",
        "{% if %}",
        "{{ 'a' * 600000 }}",
        "a" * 600_000,
    ],
    ids=lambda template: template[:30],
)
def test_a_template_that_fails_or_writes_too_much_writes_nothing(template: str) -> None:
    assert _render(template) is None


@pytest.mark.parametrize("fault", ["frozen", "no executable"])
def test_where_there_is_no_python_no_process_is_started(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "frozen":  # `sys.executable` is an application, which would start itself
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    else:
        monkeypatch.setattr(sys, "executable", "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    assert _render(QUESTION) is None


def test_what_libraries_print_need_not_be_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import sys; sys.stderr.buffer.write(bytes([255]))"
    (tmp_path / "sitecustomize.py").write_text(program, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert _render(QUESTION) == "Hi"


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_other_systems_than_linux_have_no_limit_of_memory(
    system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setitem(sys.modules, "resource", None)
    template_process._limit_memory()
