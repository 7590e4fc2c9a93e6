"""The candidate's end: run a sample's code, then answer what the judge asks of it. It never sees a test."""

from __future__ import annotations

import builtins
import sys
import types
from typing import Any

from .talk import Gone, Peer, described

NAME = "solution"


def serve(job: dict[str, Any], source: int, sink: int) -> None:
    """Say ("ready",) once the code has run, or ("raise", 0, ...) if it did not, and serve until the judge is gone."""
    peer = Peer(source, sink, open_=True)
    try:
        module = load(job["code"])
        if job["entry_point"] and job["entry_point"] not in module.__dict__:
            raise NameError(f"'{job['entry_point']}' is not defined")
    except BaseException as error:
        peer.send(("raise", 0, *described(error)))
        return
    peer.keep(Names(module))  # number 0: where the judge finds the code's names
    peer.send(("ready",))
    try:
        while True:
            peer.answer(peer.receive())
    except Gone:
        return


class Names:
    """What the code defines, by name."""

    def __init__(self, module: types.ModuleType):
        self._names = module.__dict__

    def __getattr__(self, name: str) -> Any:
        if name in self._names:
            return self._names[name]
        if hasattr(builtins, name):
            return getattr(builtins, name)
        raise NameError(f"name '{name}' is not defined")


def load(code: str) -> types.ModuleType:
    """Run the code as a module of its own, which is `__main__` to nobody. SyntaxError for whatever does not compile."""
    module = types.ModuleType(NAME)
    sys.modules[NAME] = sys.modules["__main__"] = module
    try:
        compiled = compile(code, "<code>", "exec", dont_inherit=True)
    except BaseException as error:
        raise SyntaxError(f"{type(error).__name__}: {error}"[:200]) from None
    exec(compiled, module.__dict__)
    return module
