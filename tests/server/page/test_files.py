"""The page and its files: headers, what they refer to, and that the wheel holds them."""

from __future__ import annotations

import re
from pathlib import Path, PurePath

import pytest
from hatchling.builders.wheel import WheelBuilder

from llava_tools.server.page.files import HEADERS, STATIC
from tests.server.conftest import MakeClient

ROOT = Path(__file__).parents[3]
FILES = sorted(path for path in STATIC.rglob("*") if path.is_file())
TEXTS = [path for path in FILES if path.suffix in (".html", ".css", ".js", ".svg")]
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def test_browsers_get_the_page(make_client: MakeClient) -> None:
    response = make_client().get("/", headers=BROWSER)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.text == (STATIC / "index.html").read_text()


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/static/style.css", "/favicon.ico"])
def test_files_have_security_headers_and_need_no_key(make_client: MakeClient, path: str) -> None:
    response = make_client(api_keys=("long-enough-key",)).get(path, headers=BROWSER)
    assert response.status_code == 200
    assert {name: response.headers[name] for name in HEADERS} == HEADERS


def test_the_policy_allows_nothing_from_elsewhere_and_nothing_inline() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'; img-src 'self' data: blob:; ")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_file_is_served_with_a_type(make_client: MakeClient, path: Path) -> None:
    types = {
        ".html": "text/html",
        ".css": "text/css",
        ".js": "text/javascript",
        ".svg": "image/svg+xml",
        ".png": "image/png",
    }
    response = make_client().get(f"/static/{path.relative_to(STATIC).as_posix()}")
    assert response.headers["content-type"].split(";")[0] == types[path.suffix]
    assert response.content == path.read_bytes()


@pytest.mark.parametrize("path", ["../api.py", "..%2fapi.py", "%2e%2e/files.py", "nothing.js"])
def test_nothing_else_is_served(make_client: MakeClient, path: str) -> None:
    assert make_client().get(f"/static/{path}").status_code == 404


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_files_name_no_other_host(path: Path) -> None:
    addresses = re.findall(r"(?:https?:)?//[\w.-]+\.\w+[\w/.]*", path.read_text())
    assert set(addresses) <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_files_hold_no_inline_code_and_set_no_html(path: Path) -> None:
    text = path.read_text()
    inline = re.findall(r"<style|\sstyle=|\son\w+=[\"']|<script(?![^>]*\ssrc=)", text)
    assert not inline or path.suffix == ".js"
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)


def test_every_file_that_is_named_is_there() -> None:
    for path in TEXTS:
        text = path.read_text()
        named = re.findall(r"[\"'`(]/static/([\w./-]+)", text)
        named += re.findall(r"from \"\./([\w.]+)\"", text)
        assert not [name for name in named if not (STATIC / name).exists()], path.name


def test_every_icon_that_is_named_is_there() -> None:
    symbols = set(re.findall(r"<symbol id=\"(\w+)\"", (STATIC / "icons.svg").read_text()))
    used = set(re.findall(r"icons\.svg#(\w+)", (STATIC / "index.html").read_text()))
    for path in STATIC.glob("*.js"):
        used |= set(re.findall(r"(?:icon|button)\(\"(\w+)\"", path.read_text()))
    assert used == symbols


def test_the_examples_are_those_of_the_repository() -> None:
    shipped = sorted((STATIC / "examples").iterdir())
    assert shipped
    for path in shipped:
        assert path.read_bytes() == (ROOT / "examples" / "images" / path.name).read_bytes()


def test_the_wheel_holds_all_files() -> None:
    included = WheelBuilder(str(ROOT)).recurse_included_files()
    names = {PurePath(file.distribution_path).as_posix() for file in included}
    assert {path.relative_to(ROOT).as_posix() for path in FILES} <= names


def test_the_page_is_small() -> None:
    assert sum(path.stat().st_size for path in FILES) < 100_000
