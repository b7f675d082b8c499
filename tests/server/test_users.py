from __future__ import annotations

import pytest
from PIL import Image

from llava_tools.errors import ImageError
from llava_tools.images import open_image
from llava_tools.images.fetch import Fetcher
from llava_tools.server.options import ServerOptions
from llava_tools.server.users import User, Users

DATA = open_image(Image.new("RGB", (4, 4), "red")).data


def _user(**options: object) -> User:
    user = Users(ServerOptions(**options)).find("")
    assert user is not None
    return user


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Records what would be fetched, and answers with an image."""
    urls: list[str] = []

    def get(self: Fetcher, url: str) -> bytes:
        urls.append(url)
        return DATA

    monkeypatch.setattr(Fetcher, "get", get)
    return urls


def test_links_are_not_fetched_by_default(fetched: list[str]) -> None:
    with pytest.raises(ImageError, match="this server fetches none"):
        _user().open_image("https://example.org/a.png")
    assert fetched == []


def test_links_are_fetched_on_request(fetched: list[str]) -> None:
    image = _user(allow_urls=True).open_image("https://example.org/a.png")
    assert image.data == DATA
    assert fetched == ["https://example.org/a.png"]


def test_an_allowed_host_allows_no_other_host() -> None:
    user = _user(allowed_hosts=("images.lan",))
    with pytest.raises(ImageError, match="lies on a host that is not among those allowed"):
        user.open_image("https://example.org/a.png")


@pytest.mark.parametrize(
    "source", ["", "x", "/etc/passwd", "file:///etc/passwd", "img_1", "ftp://a/b"]
)
@pytest.mark.parametrize("allow_urls", [False, True])
def test_other_names_open_nothing(source: str, allow_urls: bool) -> None:
    with pytest.raises(ImageError, match="neither a data: URL nor the handle of an image"):
        _user(allow_urls=allow_urls).open_image(source)
