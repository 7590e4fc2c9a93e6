"""Every command there is, in the order of --help."""

from bakeoff.cli import study, results, trial, grade, here  # noqa: F401, I001 (in the order of --help)
from bakeoff.cli.app import app

from typing import Any

import typer


def carry_out() -> int:
    """Do what the command line says; the exit code, or an error for `told`."""
    command: Any = typer.main.get_command(app)
    return command.main(prog_name="bakeoff", standalone_mode=False) or 0
