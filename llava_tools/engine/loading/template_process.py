"""Renders chat templates, which are programs of strangers, in a child process with limits.

Jinja's sandbox keeps a template from files and from Python, but not from loops without end or from
all of the memory. The child inherits no code of the parent's main module, as `multiprocessing`
would, so that scripts need no guard.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

_log = logging.getLogger(__name__)

#: Seconds for a template, from when the child's modules are loaded.
SECONDS = 5.0
#: Bytes that a template may take beyond those of the child's modules, on Linux.
MEMORY = 1 << 28
#: Characters of a template, and of a prompt. Published templates have up to 20,000.
MAX_CHARACTERS = 500_000

_Messages = Sequence[Mapping[str, Any]]


def render_template(
    template: str, conversations: Sequence[_Messages], tokens: Mapping[str, Any]
) -> list[str | None]:
    """Return the prompts that a chat template writes for conversations.

    A prompt is None if the template raises an error; all of them are if it exceeds the limits.

    Args:
        template: In Jinja, as transformers takes it.
        conversations: Messages with `role` and `content`.
        tokens: What the template finds by name, such as `bos_token`.
    """
    failure: list[str | None] = [None] * len(conversations)
    if len(template) > MAX_CHARACTERS:
        _log.debug("The chat template has %d characters.", len(template))
        return failure
    if getattr(sys, "frozen", False) or not sys.executable:
        _log.debug("There is no Python to render the chat template: %s", sys.executable)
        return failure
    request = {
        "template": template,
        "conversations": conversations,
        "tokens": tokens,
        "seconds": SECONDS,
    }
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import main; main()"
    child = subprocess.run(
        [sys.executable, "-P", "-c", code],
        input=json.dumps(request),
        capture_output=True,
        encoding="utf-8",
        errors="replace",  # JSON is ASCII; a library may write anything on stderr
        check=False,
    )
    if child.returncode:
        _log.debug("The chat template ends its process: %r", child.stderr)
        return failure
    # Whatever a `sitecustomize` prints stands before the last line.
    prompts: list[str | None] = json.loads(child.stdout.rpartition("\n")[2])
    return prompts


def main() -> None:
    """Run the child: the arguments of `render_template` on stdin, the prompts on stdout."""
    from transformers.utils.chat_template_utils import render_jinja_template

    request = json.load(sys.stdin)
    faulthandler.dump_traceback_later(request["seconds"], exit=True)
    _limit_memory()
    prompts: list[str | None] = []
    for messages in request["conversations"]:
        try:
            rendered: Any = render_jinja_template(
                [messages],
                chat_template=request["template"],
                add_generation_prompt=True,
                **request["tokens"],
            )
            prompt: str | None = rendered[0][0]
        except Exception:  # noqa: BLE001 -- a template raises whatever it likes
            prompt = None
        prompts.append(prompt if prompt is not None and len(prompt) <= MAX_CHARACTERS else None)
    json.dump(prompts, sys.stdout)


def _limit_memory() -> None:
    if sys.platform != "linux":  # others have no such limit, or do not enforce it
        return
    import resource

    import psutil

    limit = psutil.Process().memory_info().vms + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
