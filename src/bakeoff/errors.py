"""The one exception tree: a message says where, what came, what is accepted, and the nearest match."""

from __future__ import annotations

import copyreg
import difflib
import os
import re
from collections.abc import Iterable
from typing import Any

_SECRETS = [  # each after what may stay: passwords in addresses and what signs them, tokens by their beginnings
    re.compile(form)
    for form in (
        r"(://)(?:[^/@\s:]{1,100}+:\S{1,100}|[^/@\s]+)(?=@)",
        r"(://[^\s?#]{1,1000}+(?:\?|#(?=[^\s=]{1,100}=)))\S+",
        r"\b((?i:bearer) )\S+",
        r"\b((?i:basic) )(?=[a-z]{0,200}[A-Z\d+/=])[\w+/]{8,}=*",
        r"(?<![A-Za-z0-9])(hf_|gh[a-z]_|AKIA)[A-Za-z0-9]{16,}",
        r"(?<![A-Za-z0-9])(sk-|github_pat_|glpat-|api_org_)(?=[\w-]{0,200}\d)[\w-]{16,}",
    )
]
_NAMES = ("TOKEN", "KEY", "SECRET", "PASSWORD")  # how variables of the environment end that hold secrets


class BakeoffError(Exception):
    """Anything Bakeoff itself refuses or gives up on; its text is one line for a person."""

    exit_code = 1

    def __str__(self) -> str:
        return redacted(super().__str__())

    def __reduce__(self) -> tuple[Any, ...]:  # made anew elsewhere as it is, whatever its __init__ takes
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # pyright: ignore[reportAttributeAccessIssue]


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
        self.path, self.what, self.mend = path, what, mend
        super().__init__(f"{path}: cannot be written ({what}); what was finished is kept; {mend}")


def redacted(text: str) -> str:
    """The text without what may be a secret: tokens, passwords in addresses, the environment's by their names."""
    held = {value for name, value in os.environ.items() if name.upper().endswith(_NAMES) and len(value) >= 8}
    for value in sorted(held, key=len, reverse=True):
        text = text.replace(value, "[secret]")
    for secret in _SECRETS:
        text = secret.sub(r"\1[secret]", text)
    return text


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
