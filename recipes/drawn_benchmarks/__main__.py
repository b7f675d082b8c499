"""Write the drawn benchmarks: `python -m recipes.drawn_benchmarks DIR`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from llava_tools.errors import MissingExtraError
from recipes.drawn_benchmarks import Layout, write_benchmarks


def main() -> None:
    """Parse the command line and write."""
    parser = argparse.ArgumentParser("python -m recipes.drawn_benchmarks", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=100, help="questions of each benchmark")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layout", default="llava", choices=get_args(Layout))
    options = parser.parse_args()
    try:
        write_benchmarks(options.folder, options.count, options.seed, layout=options.layout)
    except MissingExtraError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
