"""The classic way: code and tests in one namespace, as HumanEval's own checker does, inside the candidate's jail.

Its verdict is the sample's word: an `__eq__` that is always true passes. It is only ever shown beside the judge's.
"""

from __future__ import annotations

import json
import os
from types import FunctionType
from typing import Any

from .candidate import load
from .talk import line


def run(job: dict[str, Any], report: int) -> None:
    """Run the code, then its tests where it ran; write {"label", "detail"} to `report`."""
    label, detail = "pass", ""
    try:
        names = load(job["code"]).__dict__
        for test in job["tests"]:
            exec(compile(test, "<test>", "exec", dont_inherit=True), names)
        if type(check := names.get("check")) is FunctionType and job["entry_point"] not in ("", "check"):
            check(names[job["entry_point"]])
    except BaseException as error:
        label = {AssertionError: "fail", MemoryError: "memory"}.get(type(error), "error")
        detail = line(error)
    os.write(report, json.dumps({"label": label, "detail": detail}).encode())
