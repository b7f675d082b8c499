"""transformers' image processors that compute with Pillow, by their names since 5.4."""

from __future__ import annotations

from typing import Any

try:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
except ModuleNotFoundError:  # before 5.4, where the names without "Pil" are these
    from transformers.models.clip import image_processing_clip
    from transformers.models.llava import image_processing_llava
    from transformers.models.siglip import image_processing_siglip

    CLIPImageProcessorPil: Any = image_processing_clip.CLIPImageProcessor  # type: ignore[no-redef]
    LlavaImageProcessorPil: Any = image_processing_llava.LlavaImageProcessor  # type: ignore[no-redef]
    SiglipImageProcessorPil: Any = image_processing_siglip.SiglipImageProcessor  # type: ignore[no-redef]

__all__ = ["CLIPImageProcessorPil", "LlavaImageProcessorPil", "SiglipImageProcessorPil"]
