"""The judge's end: run a sample's tests with stubs in place of its code, and give the verdict."""

from __future__ import annotations

import ast
import builtins
import json
import os
from types import FunctionType
from typing import Any

from .talk import Gone, Peer, Remote, line, revived

BEGAN = b"+"  # written to the parent before anything is heard from the candidate
CHECK = "check"  # HumanEval's tests define it, and take the code as its argument


def judge(job: dict[str, Any], source: int, sink: int, report: int) -> None:
    """Run the tests; write BEGAN, then {"label", "detail"}, to `report`."""
    peer = Peer(source, sink, open_=False)
    try:
        names = prelude(job["prelude"])
        tests = [compile(test, "<test>", "exec", dont_inherit=True) for test in job["tests"]]
        wanted = wanted_names("\n".join(job["tests"]))
    except BaseException as error:
        _write(report, {"label": "harness-error", "detail": f"the tests cannot be run: {line(error)}"})
        return
    _write(report, BEGAN)
    step, label, detail = "", "error", ""
    try:
        first = peer.receive()
        if first[0] == "raise" and len(first) == 4:
            raise revived(first[2], first[3])
        if first != ("ready",):
            raise peer._break("it sent what is no message")
        fetch(peer, names, wanted, job["entry_point"])
        for text, test in zip(job["tests"], tests, strict=True):
            step = text
            exec(test, names)
        if type(check := names.get(CHECK)) is FunctionType and job["entry_point"]:
            step = f"{CHECK}({job['entry_point']})"
            check(names[job["entry_point"]])
        if peer.broken:
            raise Gone(peer.broken)
        label, detail = ("pass", "") if peer.answers else ("error", "no test called the code")
    except BaseException as error:
        label, detail = labelled(error, peer.broken)
        detail = f"{detail} (in {step})" if step else detail
    _write(report, {"label": label, "detail": detail[:600]})


def _write(report: int, what: bytes | dict[str, str]) -> None:
    os.write(report, what if isinstance(what, bytes) else json.dumps(what).encode())


def labelled(error: BaseException, broken: str = "") -> tuple[str, str]:
    """The label of what ended the tests. A failed assertion is the tests' own: the code's are errors."""
    if broken or isinstance(error, Gone):
        return "error", broken or str(error)
    own, text = not hasattr(error, "from_code"), line(error)
    if isinstance(error, MemoryError):
        return "memory", text
    return ("fail" if own and isinstance(error, AssertionError) else "error"), text


def prelude(text: str) -> dict[str, Any]:
    """The names that the problem itself gives its tests: a prompt's imports and helpers, where it is Python."""
    names: dict[str, Any] = {"__name__": "tests", "__builtins__": builtins}
    for source in (text, f"{text.rstrip()}\n    pass\n"):
        try:
            compiled = compile(source, "<prompt>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            continue
        exec(compiled, names)
        break
    return names


def wanted_names(source: str) -> set[str]:
    """Every name that the text reads and does not bind itself, anywhere."""
    read: set[str] = set()
    bound: set[str | None] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                read.add(name)
            case ast.Name(id=name) | ast.arg(arg=name) | ast.ExceptHandler(name=name):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.alias(name=name, asname=other):
                bound.add(other or name.partition(".")[0])
    return read - bound


def fetch(peer: Peer, names: dict[str, Any], wanted: set[str], entry_point: str) -> None:
    """Get from the code whatever a test reads and neither Python nor the problem defines, and the entry point.

    Plain values come as they are, functions and classes as Remotes. What the code does not define stays undefined.
    """
    unknown = {name for name in wanted if name not in names and not hasattr(builtins, name)}
    plain = 0
    for name in sorted(unknown | ({entry_point} if entry_point else set())):
        try:
            names[name] = peer.ask("get", Remote(peer, 0), name)
        except NameError:
            continue
        plain += not isinstance(names[name], Remote)
    peer.answers = plain
