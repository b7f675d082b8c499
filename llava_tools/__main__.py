"""The command line: the script `llava-tools`, and ``python -m llava_tools``.

It imports nothing before `run`, so that an interrupt is handled from the beginning on.
"""


def run() -> int:
    """Run the command line of this process and return its exit code, 130 for an interrupt."""
    try:
        from llava_tools.cli.main import main

        return main()
    except KeyboardInterrupt:
        return 130  # while `main` is imported, or ends


if __name__ == "__main__":
    import sys

    sys.exit(run())
