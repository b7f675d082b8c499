"""The image and the server of images that LangChain's tests use too."""

from __future__ import annotations

from tests.langchain.conftest import image_server, png, png_base64

__all__ = ["image_server", "png", "png_base64"]
