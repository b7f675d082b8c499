"""The picture and the server of pictures that LangChain's tests use too."""

from __future__ import annotations

from tests.langchain.conftest import picture_server, png, png_base64

__all__ = ["picture_server", "png", "png_base64"]
