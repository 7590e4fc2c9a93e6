"""Peer: one end of the talk between judge and candidate, two pipes of framed messages (wire.py).

The judge asks the candidate to call something that stays there, to read an attribute of it, to iterate over it; the
candidate may ask the judge to call a function that a test handed over, and nothing else. A message is ("call", number,
target, args, kwargs), ("get", number, target, name), or ("iter" | "next" | "len", number, target); the answer to it
("value", number, value), ("raise", number, names of its builtin classes, text) or, to "next" alone, ("end", number).
"""

from __future__ import annotations

import builtins
import contextlib
import os
import struct
from types import FunctionType
from typing import Any

from . import wire

HEAD = struct.Struct(">I")
TEXT = 300


class Gone(BaseException):
    """The other end has died, or does not keep to the protocol: there is nobody to talk to."""


class Remote:
    """Something that stays at the other end: it can be called, iterated, asked for its public attributes.

    It equals nothing and has no truth value, whatever it may claim there.
    """

    def __init__(self, peer: Peer, number: int):
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_number", number)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._peer.ask("call", self, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._peer.ask("get", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise TypeError("an object of the code's own cannot be changed from outside")

    def __iter__(self) -> Any:
        return self._peer.ask("iter", self)

    def __next__(self) -> Any:
        return self._peer.ask("next", self)

    def __len__(self) -> int:
        return self._peer.ask("len", self)

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    def __bool__(self) -> bool:
        raise TypeError("the code gave an object of its own, not plain data")

    __hash__ = object.__hash__


QUESTIONS = ("call", "get", "iter", "next", "len")


class Peer:
    """One end. `open_` says whether everything here may be left for the other end to use, or only functions."""

    def __init__(self, source: int, sink: int, open_: bool):
        self.source, self.sink, self.open = source, sink, open_
        self.answers = 0
        self.broken = ""
        self._own: list[Any] = []
        self._number = 0

    def ask(self, what: str, *parts: Any) -> Any:
        """Ask the other end and wait, serving its questions meanwhile. What it raises is raised here."""
        self._number += 1
        number = self._number
        self.send((what, number, *parts))
        while True:
            message = self.receive()
            if message[0] in QUESTIONS:
                self.answer(message)
                continue
            if len(message) < 2 or type(message[1]) is not int or message[1] != number:
                raise self._break("it answered what was not asked")
            self.answers += 1
            return self._result(what, message)

    def answer(self, message: tuple[Any, ...]) -> None:
        """Do what the other end asks, and tell it what came of it."""
        what, number, *parts = message
        try:
            reply = ("value", number, self._do(what, *parts))
        except StopIteration as error:
            reply = ("end", number) if what == "next" else ("raise", number, *described(error))
        except Gone:
            raise
        except BaseException as error:
            reply = ("raise", number, *described(error))
        try:
            self.send(reply)
        except Exception as error:  # what came of it cannot be sent
            self.send(("raise", number, *described(error)))

    def send(self, message: tuple[Any, ...]) -> None:
        data = wire.encode(message, self._keep)
        data = HEAD.pack(len(data)) + data
        try:
            while data:
                data = data[os.write(self.sink, data) :]
        except OSError:
            raise self._break("it ended before its tests did") from None

    def receive(self) -> tuple[Any, ...]:
        (size,) = HEAD.unpack(self._read(HEAD.size))
        if size > wire.MAX_BYTES:
            raise self._break("it sent what is no message")
        try:
            message = wire.decode(self._read(size), self._find)
        except wire.WireError:
            raise self._break("it sent what is no message") from None
        if type(message) is not tuple or not message or type(message[0]) is not str:
            raise self._break("it sent what is no message")
        return message

    def keep(self, value: Any) -> int:
        """The number under which the other end may ask for something that stays here."""
        self._own.append(value)
        return len(self._own) - 1

    def _do(self, what: str, target: Any, *parts: Any) -> Any:
        if what == "call" and (self.open or type(target) is FunctionType):
            args, kwargs = parts
            return target(*args, **kwargs)
        if not self.open:
            raise TypeError("that cannot be asked")
        return {"get": getattr, "iter": iter, "next": next, "len": len}[what](target, *parts)

    def _result(self, what: str, message: tuple[Any, ...]) -> Any:
        if message[0] == "value" and len(message) == 3:
            return message[2]
        if message[0] == "end" and len(message) == 2 and what == "next":
            raise StopIteration
        if message[0] == "raise" and len(message) == 4:
            raise revived(message[2], message[3])
        raise self._break("it sent what is no message")

    def _keep(self, value: Any) -> list[Any] | None:
        if isinstance(value, Remote):
            return ["o", value._number]
        if not self.open and type(value) is not FunctionType:
            return None
        return ["h", self.keep(value)]

    def _find(self, item: list[Any]) -> Any:
        tag, number = item
        if type(number) is not int or number < 0:
            raise wire.WireError("no message: no such thing")
        if tag == "o":
            return self._own[number]
        return Remote(self, number)

    def _read(self, size: int) -> bytes:
        parts = []
        while size:
            try:
                part = os.read(self.source, min(size, 1 << 20))
            except OSError:
                part = b""
            if not part:
                raise self._break("it ended before its tests did")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _break(self, why: str) -> Gone:
        self.broken = self.broken or why
        return Gone(self.broken)


def described(error: BaseException) -> tuple[list[str], str]:
    """An exception as plain data: the names of its builtin classes, nearest first, and what it says.

    One of the code's own classes says its name first.
    """
    kinds = [kind.__name__ for kind in type(error).__mro__ if getattr(builtins, kind.__name__, None) is kind]
    text = "an exception that cannot be shown"
    with contextlib.suppress(BaseException):
        name = type(error).__name__
        text = (str(error) if kinds[:1] == [name] and isinstance(error, Exception) else f"{name}: {error}")[:TEXT]
    return kinds, text


def line(error: BaseException) -> str:
    """An exception's class and what it says, on one line."""
    text = described(error)[1]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def revived(kinds: Any, text: Any) -> Exception:
    """An exception of the nearest builtin class, marked as the other end's."""
    for name in kinds if type(kinds) is list else ():
        kind = getattr(builtins, name, None) if type(name) is str else None
        if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, StopIteration):
            with contextlib.suppress(Exception):
                return marked(kind(str(text)[:TEXT]))
    return marked(Exception(str(text)[:TEXT]))


def marked(error: Exception) -> Exception:
    error.from_code = True  # pyright: ignore[reportAttributeAccessIssue]
    return error
