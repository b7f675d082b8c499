"""The command line: the script `llava-tools`, and ``python -m llava_tools``.

It imports nothing before `run`, so that an interrupt is handled from the beginning on.
"""

import os


def run() -> int:
    """Run the command line of this process and return its exit code; an interrupt ends it with 130.

    After an interrupt, all that cleans up has run and the output is written when `main` returns.
    Python's own exit would wait for threads, for the engine's step among others, and for libraries:
    torch alone takes a second of processor time to unload.
    """
    try:
        from llava_tools.cli.main import main

        code = main()
    except KeyboardInterrupt:
        code = 130  # while `main` is imported, or ends
    if code == 130:
        os._exit(code)
    return code


if __name__ == "__main__":
    import sys

    sys.exit(run())
