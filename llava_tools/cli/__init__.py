"""The command line, `llava-tools`."""
