"""The command line: `python -m helpers COMMAND`."""
