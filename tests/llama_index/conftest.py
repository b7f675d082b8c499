"""Fixtures of LangChain's tests: a PNG image and a server for it."""

from __future__ import annotations

from tests.langchain.conftest import image_server, png, png_base64

__all__ = ["image_server", "png", "png_base64"]
