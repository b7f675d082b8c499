"""Decoding of this process's engine as a share of the memory's bandwidth, measured in the same run.

A token cannot be decoded before all weights are read, so the share says what is left to gain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llava_tools.bench.contenders import BackendContender, Contender
from llava_tools.bench.workload import Measurements, Workload, long_request
from llava_tools.engine.bandwidth import DecodeBandwidth, decode_bandwidth


def measure(
    contenders: Sequence[Contender], measured: Sequence[Measurements], workload: Workload
) -> DecodeBandwidth | None:
    """Return it for the first contender that is an engine of this process; None without one."""
    for contender, item in zip(contenders, measured, strict=True):
        if isinstance(contender, BackendContender) and item.tokens_per_s is not None:
            request = long_request(workload)
            found = decode_bandwidth(contender.backend, request, workload.tokens, item.tokens_per_s)
            if found is not None:
                return found
    return None


def line(found: DecodeBandwidth) -> str:
    """Return it as a line under the table."""
    return (
        f"Decoding reads {_giga(found.bytes_per_token)} GB a token, {_giga(found.decoding)} GB/s: "
        f"{found.share:.0%} of the memory's bandwidth in this run ({_giga(found.memory)} GB/s)."
    )


def _giga(number: float) -> str:
    return f"{number / 1e9:,.0f}" if number >= 1e11 else f"{number / 1e9:.3g}"


def as_dict(found: DecodeBandwidth) -> dict[str, Any]:
    """Return it for the JSON line, in bytes per second."""
    return {
        "bytes_per_token": found.bytes_per_token,
        "decoding": round(found.decoding),
        "memory": round(found.memory),
        "share": round(found.share, 4),
    }
