"""Hardware and versions, reported by every benchmark as `llava-tools bench` reports them."""

from llava_tools.bench.machine import describe

__all__ = ["describe"]
