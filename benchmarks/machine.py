"""What every benchmark says about where it ran: the same as `llava-tools bench`."""

from llava_tools.bench.machine import describe

__all__ = ["describe"]
