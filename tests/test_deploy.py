"""The files in `deploy/` start the server with flags that it takes, from files that exist."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import tomllib
from pathlib import Path

from llava_tools.cli.main import build_parser
from llava_tools.cli.serve import GRACE_SECONDS, KEY_VARIABLE

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
UNIT = ROOT / "deploy" / "llava-tools.service"


def _array(instruction: str) -> list[str]:
    """Return the last array of an instruction in the Dockerfile."""
    found = re.findall(rf"^\s*{instruction} (\[.*\])$", DOCKERFILE, flags=re.MULTILINE)
    return [str(item) for item in json.loads(found[-1])]


def test_the_container_starts_the_server() -> None:
    program, *flags = _array("ENTRYPOINT") + _array("CMD")
    arguments = build_parser().parse_args(flags)
    assert (program, arguments.host, arguments.port) == ("llava-tools", "0.0.0.0", 8000)
    assert "EXPOSE 8000" in DOCKERFILE
    assert KEY_VARIABLE in DOCKERFILE


def test_the_container_is_built_from_files_that_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ignored = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, flags=re.MULTILINE):
        for name in line.split():
            assert (ROOT / name).exists()
            assert f"!{name}" in ignored
    (needed,) = re.findall(r'"\.\[([\w,-]+)\]"', DOCKERFILE)
    assert set(needed.split(",")) <= extras["optional-dependencies"].keys()


def test_the_unit_starts_the_server_and_waits_for_its_end() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(UNIT)
    program, *flags = shlex.split(unit["Service"]["ExecStart"])
    arguments = build_parser().parse_args(flags)
    assert program.endswith("/bin/llava-tools")
    assert arguments.api_key_file.startswith("${CREDENTIALS_DIRECTORY}/")
    assert int(unit["Service"]["TimeoutStopSec"]) > GRACE_SECONDS
