"""The command line: prints and exits, nothing else. A module for each kind of command; app.py is what they share."""

from bakeoff.cli import study, results, trial, grade, here  # noqa: F401, I001 (in the order of --help)
from bakeoff.cli.app import main

__all__ = ["main"]
