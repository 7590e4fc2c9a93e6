"""The command line: prints and exits, nothing else. A module for each kind of command; app.py is what they share."""

from bakeoff.cli.program import main

__all__ = ["main"]
