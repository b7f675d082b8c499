"""Write the golden files anew: `python -m tests.golden [group ...]`."""

from __future__ import annotations

import sys

from tests.golden import groups, store


def main(names: list[str]) -> None:
    for group in names or groups.NAMES:
        results = {name: make() for name, make in groups.cases(group).items()}
        store.save(group, results)
        print(f"{group}: {len(results)} cases")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
