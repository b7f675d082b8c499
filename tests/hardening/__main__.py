"""Attack the package, and print what each attack tried and found.

python -m tests.hardening [NAME ...] [--short] [--seed 0]
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.hardening import guard
from tests.hardening.attacks import ATTACKS


def main() -> int:
    """Run attacks, print a table, and return 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.hardening", description=__doc__)
    names = [attack.name for attack in ATTACKS]
    parser.add_argument("name", nargs="*", help=f"attacks to run: {', '.join(names)}; default: all")
    parser.add_argument("--short", action="store_true", help="as few inputs as the tests try")
    parser.add_argument("--seed", type=int, default=0, help="what the inputs are drawn from")
    arguments = parser.parse_args()
    if unknown := set(arguments.name) - set(names):
        parser.error(f"no attack {sorted(unknown)[0]!r}: one of {', '.join(names)}")
    guard.install()
    found, table = 0, sys.stdout  # an attack that hangs may leave another stream in its place
    table.write("| attack | tried | ended in | findings | s |\n|-|-|-|-|-|\n")
    for attack in ATTACKS:
        if arguments.name and attack.name not in arguments.name:
            continue
        start = time.monotonic()
        tally = attack.run(attack.short if arguments.short else attack.long, arguments.seed)
        outcomes = ", ".join(f"{name} {count:,}" for name, count in tally.outcomes.most_common())
        if tally.worst:
            outcomes += f"; worst: {tally.worst}"
        table.write(
            f"| {attack.name}: {attack.subject} | {tally.tried:,} | {outcomes} "
            f"| {len(tally.findings)} | {time.monotonic() - start:.0f} |\n"
        )
        table.flush()
        for finding in tally.findings:
            sys.stderr.write(f"{attack.name}: {finding}\n")
        found += len(tally.findings)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
