"""The wire between judge and candidate: what goes in comes out, and no bytes do more than be refused."""

from __future__ import annotations

import json
import math
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.grading.code.jail import talk, wire
from bakeoff.grading.code.jail.wire import MAX_BYTES, MAX_DEPTH, WireError, decode, encode

HASHABLE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(14_000, 20_000).map(lambda bits: 1 << bits)
    | st.floats()
    | st.complex_numbers()
    | st.text(st.characters())
    | st.text(st.characters(categories=["Cs"]), max_size=3)
    | st.binary()
    | st.builds(range, st.integers(), st.integers(), st.integers(1, 1 << 70))
    | st.sampled_from(list(wire.NAMED.values())),
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.frozensets(inner, max_size=4),
    max_leaves=8,
)
VALUES = st.recursive(
    HASHABLE | st.binary().map(bytearray),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.sets(HASHABLE, max_size=4)
        | st.dictionaries(HASHABLE, inner, max_size=4)
    ),
    max_leaves=12,
)


def same(a: object, b: object) -> bool:
    """Equal, of the same types all the way down, nan and the sign of zero included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, complex) and isinstance(b, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return same(list(a.items()), list(b.items()))
    if isinstance(a, set | frozenset) and isinstance(b, set | frozenset):
        return len(a) == len(b) and all(any(same(x, y) for y in b) for x in a)
    return a == b


@given(VALUES)
def test_round_trip(value):
    data = encode(value)
    json.loads(data)
    assert same(decode(data), value)


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(data):
    refused_or_plain(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from("ltszdrifcbanho"),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.tuples(st.sampled_from("ltszdrifcbanho"), inner, inner, inner).map(list)
        | st.tuples(st.sampled_from("ltszdrifcbanho"), inner).map(list)
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_json_is_decoded_or_refused(item):
    refused_or_plain(json.dumps(item).encode())


@given(VALUES, st.data())
def test_damaged_messages_are_decoded_or_refused(value, data):
    message = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    refused_or_plain(bytes(message[: data.draw(st.integers(0, len(message)))]))


def refused_or_plain(data: bytes) -> None:
    try:
        value = decode(data)
    except WireError:
        return
    assert same(decode(encode(value)), value)  # plain data, all the way down


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[",
        b"[" * 1_000_000,
        b'["l",' * 1000 + b"1" + b"]" * 1000,
        b"1" * 5000,
        b"NaN",
        b"Infinity",
        b"{}",
        b'{"l": 1}',
        b"[]",
        b'["i", "zz"]',
        b'["i", 5]',
        b'["i", "1", "2"]',
        b'["f", "1e9"]',
        b'["n", "eval"]',
        b'["n", "__import__"]',
        b'["n", []]',
        b'["s", ["l"]]',
        b'["d", 1]',
        b'["r", 1, 2, 0]',
        b'["c", "a", 1]',
        b'["b", "0"]',
        b'["h", 0]',
        b'["o", 0]',
        b'["x", 1]',
        b"\xff\xfe",
        b" " * (MAX_BYTES + 1),
    ],
)
def test_refused(data):
    with pytest.raises(WireError):
        decode(data)


def test_limits(monkeypatch):
    monkeypatch.setattr(wire, "MAX_PARTS", 20_000)
    deep: list = []
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    assert same(decode(encode(deep)), deep)
    shared: list = []
    for _ in range(60):
        shared = [shared, shared]
    cycle: list = []
    cycle.append(cycle)
    for value in (
        [[deep]],
        shared,
        cycle,
        "x" * (MAX_BYTES + 1),
        b"x" * MAX_BYTES,
        1 << (MAX_BYTES * 8 + 8),
        [0] * 20_000,
    ):
        with pytest.raises(WireError):
            encode(value)
    assert decode(encode(10**6000)) == 10**6000  # more digits than int() takes as text


def test_subclasses_travel_as_plain_values():
    class Liar(int):
        def __eq__(self, other: object) -> bool:
            return True

        def __index__(self) -> int:
            return 99

        __hash__ = int.__hash__

    class Words(dict):
        def items(self):  # pyright: ignore[reportIncompatibleMethodOverride]
            return [("forged", 1)]

    assert same(decode(encode([Liar(3), Words(a=1)])), [3, {"a": 1}])
    for own in (object(), lambda: 1, iter([1]), Exception("x")):
        with pytest.raises(WireError, match="not plain data"):
            encode(own)


def test_what_stays_at_the_other_end():
    """A judge gets no more than stubs; a stub equals nothing; and only functions of its own leave the judge."""
    judge, candidate = peers()

    class Own:
        size = 3

        def __eq__(self, other: object) -> bool:
            return True

    candidate.keep(Own())
    with serving(candidate):
        own = talk.Remote(judge, 0)
        assert own.size == 3
        assert [own == 3, own == own, own in [3]] == [False, False, False] and own != 3
        with pytest.raises(TypeError, match="not plain data"):
            bool(own)
        with pytest.raises(TypeError):
            own.size = 4
        with pytest.raises(AttributeError):
            own.missing  # noqa: B018
        with pytest.raises(AttributeError):
            own._private  # noqa: B018
        with pytest.raises(WireError):
            judge.send(("call", 1, own, (Own(),), {}))  # an object of the judge's


def test_the_other_end_may_say_anything():
    for said in (
        ("value", 2, 5),
        ("value", 1),
        ("value", True, 5),
        ("hello",),
        ("end", 1),
        ("raise", 1, "x"),
        ([],),
        ("end", 1, 1),
    ):
        judge, candidate = peers()
        candidate.send(said)
        with pytest.raises((talk.Gone, Exception)) as caught:
            judge.ask("call", 0, (), {})
        assert isinstance(caught.value, talk.Gone) and judge.broken, said
    for raw in (b"\xff\xff\xff\xff", b"\0\0\0\2[]", b"\0\0\0\1x", b"\0\0"):
        judge, candidate = peers()
        os.write(candidate.sink, raw)
        os.close(candidate.sink)
        with pytest.raises(talk.Gone):
            judge.ask("call", 0, (), {})


def test_exceptions_are_revived_as_builtin_ones():
    class Odd(ValueError):
        def __str__(self) -> str:
            raise KeyError

    kinds, text = talk.described(Odd())
    again = talk.revived(kinds, text)
    assert type(again) is ValueError and "cannot be shown" in str(again)
    for kinds in (
        ["KeyboardInterrupt", "BaseException"],
        ["eval"],
        ["print", "int"],
        "ValueError",
        [["x"]],
        None,
        ["StopIteration"],
    ):
        assert type(talk.revived(kinds, "x")) is Exception
    assert type(talk.revived(["UnicodeDecodeError", "ValueError"], "x")) is ValueError


def peers() -> tuple[talk.Peer, talk.Peer]:
    ask, reply = os.pipe(), os.pipe()
    return talk.Peer(reply[0], ask[1], open_=False), talk.Peer(ask[0], reply[1], open_=True)


class serving:
    """Answer for one peer in a thread while another asks."""

    def __init__(self, peer: talk.Peer):
        self.peer = peer
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        while True:
            self.peer.answer(self.peer.receive())

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        return None
