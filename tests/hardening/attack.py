"""An attack: hostile inputs drawn from a seed, and what each of them led to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Tally:
    """What the inputs of one attack led to."""

    #: How many inputs ended in each of the ways that are allowed, by name.
    outcomes: Counter[str] = field(default_factory=Counter)
    #: Inputs that ended otherwise, each in one line that says how to repeat it.
    findings: list[str] = field(default_factory=list)
    #: What the costliest input took, where that is bounded; "" elsewhere.
    worst: str = ""

    @property
    def tried(self) -> int:
        """How many inputs were tried."""
        return self.outcomes.total() + len(self.findings)

    def add(self, run: Callable[[], str], what: str) -> None:
        """Try one input: `run` returns an allowed outcome, or raises what is a finding.

        Args:
            run: Tries the input.
            what: The input in one short line, by which it can be repeated.
        """
        try:
            outcome = run()
        except Exception as error:  # noqa: BLE001 - whatever an input raises is a finding
            self.findings.append(f"{what}: {error!r}")
        else:
            self.outcomes[outcome] += 1


@dataclass(frozen=True)
class Attack:
    """A kind of hostile input.

    `run` tries a number of inputs, the same for the same seed, and raises nothing that an input
    leads to: what is not an allowed outcome is a finding.
    """

    #: Its name, for the command line.
    name: str
    #: What is tried on what, in one line.
    subject: str
    run: Callable[[int, int], Tally]
    #: How many inputs are tried by the command.
    long: int
    #: How many inputs are tried by the test, within a few seconds.
    short: int
