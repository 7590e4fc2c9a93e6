"""The one exception tree: a message says where, what came, what is accepted, and the nearest match."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BakeoffError(Exception):
    """Anything Bakeoff itself refuses or gives up on; its text is one line for a person."""

    exit_code = 1


class InputError(BakeoffError):
    """What the user gave cannot be used: `where: what came; how to mend it`. Exit code 2, nothing written."""

    exit_code = 2

    def __init__(self, where: str, what: str, mend: str = ""):
        self.where, self.what, self.mend = where, what, mend
        super().__init__(f"{where}: {what}" + (f"; {mend}" if mend else ""))


class TrialError(BakeoffError):
    """One trial cannot be carried out; its reason goes into the trial's record and the others go on."""


class DamageError(BakeoffError):
    """What is on disk is not what was written: `where: what; how to mend it`."""

    def __init__(self, where: object, what: str, mend: str):
        self.where, self.what = str(where), what
        super().__init__(f"{where}: {what}; {mend}")


class StorageError(BakeoffError):
    """Results cannot be written (a full disk, a directory that is gone): the run ends, and what was finished stays.

    Never a trial's failure: it says nothing about the trial.
    """

    def __init__(self, path: object, what: str, mend: str):
        super().__init__(f"{path}: cannot be written ({what}); what was finished is kept; {mend}")


def suggest(name: str, options: Iterable[str]) -> str:
    """The mending half of an error: the nearest of `options` to `name`, or all of them where none is near."""
    known = sorted(set(options))
    return nearest(name, known) or ("accepted: " + ", ".join(known) if known else "nothing is accepted here")


def nearest(name: str, options: Iterable[str]) -> str:
    """The mending half of an error: the nearest of `options` to `name`; empty where none is near."""
    near = difflib.get_close_matches(name, sorted(set(options)), n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else ""


def extra(name: str) -> str:
    """The mending half of an error: how to install what only some use, from the checkout."""
    return f"install the extra: pip install -c constraints.txt -e '.[{name}]'"
