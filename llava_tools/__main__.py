"""``python -m llava_tools``: the command line, if its script is not on the path."""

import sys

from llava_tools.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
