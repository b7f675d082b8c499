"""A hook of mkdocs: links that leave `docs/` lead to the repository.

On GitHub `../examples/x.py` is right as it stands; the site has no such page.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_LINK = re.compile(r"\]\(\.\./([^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, config: Any, **_: Any) -> str:
    """Return a page whose links to files outside of `docs/` are addresses in the repository.

    Raises:
        FileNotFoundError: There is no such file.
    """
    root = Path(config["config_file_path"]).parent

    def address(match: re.Match[str]) -> str:
        path, anchor = match[1], match[2] or ""
        if not (root / path).exists():
            raise FileNotFoundError(f"A page of the docs links to {path}, which does not exist.")
        view = "tree" if (root / path).is_dir() else "blob"
        return f"]({config['extra']['repository']}/{view}/main/{path}{anchor})"

    return _LINK.sub(address, markdown)
