"""Three generated tasks, small enough for a CPU: film reviews, word problems and Python functions.

They mirror a paper's domains at the size of the embedded model: `sentiment` trains on single sentences and tests on
long reviews, `math` is solved step by step, `code` is judged by unit tests. A split is a function of an item's own
text, for `code` of what its function computes (`split_of`), so that splits are disjoint for any seeds and any sizes.
Nothing here reads a global random state.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from typing import Any

Row = dict[str, Any]

SYSTEM = {
    "sentiment": "You read reviews of films.",
    "math": "You solve stories with numbers.",
    "code": "You write Python functions.",
}
"""The one system message of each task: the trunk that all of its examples share."""

LABELS = ["positive", "negative"]
CHOICES = ["yes", "no"]
"""The answers of `sentiment` (did they like the film?) for each of LABELS; an even set has as many of each."""

MAXIMUM = {
    "sentiment": {"train": 40_000, "validation": 5_000, "test": 10_000},
    "math": {"train": 40_000, "validation": 5_000, "test": 10_000},
    "code": {"train": 12_000, "validation": 1_600, "test": 3_200},
}
"""The most rows that each task's splits give for one seed."""

ENTRY_POINT = "solve"
"""The name of every function that `code` asks for."""


def split_of(meaning: str) -> str:
    """The split that owns a row's `meaning`: 70% train, 10% validation, 20% test, by its sha256."""
    bucket = int(hashlib.sha256(meaning.encode()).hexdigest(), 16) % 10
    return "test" if bucket < 2 else "validation" if bucket == 2 else "train"


def sentiment(split: str, count: int, seed: int = 0) -> list[Row]:
    """Film reviews, answered yes if the writer liked the film, else no: taught on sentences, tested on long reviews."""
    review = long_review if split == "test" else short_review

    def draw(rng: random.Random, index: int) -> Row:
        answer = CHOICES[index % 2]
        text = review(rng, LABELS[index % 2])
        return {**_messages("sentiment", text, answer), "choices": list(CHOICES), "answer": answer}

    return _collect("sentiment", split, count, seed, draw)


def math(split: str, count: int, seed: int = 0) -> list[Row]:
    """Word problems of one or two operations, solved step by step to a line `Final Answer: N`."""

    def draw(rng: random.Random, index: int) -> Row:
        question, steps, answer = word_problem(rng)
        work = "\n".join([*steps, f"Final Answer: {answer}"])
        return {**_messages("math", question, work), "answer": str(answer)}

    return _collect("math", split, count, seed, draw)


def code(split: str, count: int, seed: int = 0) -> list[Row]:
    """Python functions to write from a header and a docstring, with the asserts that judge them."""

    def draw(rng: random.Random, index: int) -> Row:
        name, header, docstring, expression, calls, meaning = function(rng)
        header = header.replace(name, ENTRY_POINT, 1)
        user = f'{header}\n    """{docstring}"""'
        row = _messages("code", user, f"{header}\n    return {expression}")
        return {
            **row,
            "meaning": meaning,
            "entry_point": ENTRY_POINT,
            "tests": _asserts(ENTRY_POINT, header, expression, calls),
        }

    return _collect("code", split, count, seed, draw)


# ---- rows ---------------------------------------------------------------------------------------------------------


def _messages(task: str, user: str, assistant: str) -> Row:
    """The part that every row has: an id made from the user text, what decides its split, and the conversation."""
    roles = {"system": SYSTEM[task], "user": user, "assistant": assistant}
    digest = hashlib.sha256(f"{task}\n{user}".encode()).hexdigest()
    messages = [{"role": role, "content": content} for role, content in roles.items()]
    return {"id": f"{task}-{digest[:16]}", "meaning": user, "messages": messages}


def _rng(*purpose: object) -> random.Random:
    """A private random generator named by its purpose."""
    return random.Random("/".join(map(str, purpose)))


def _collect(task: str, split: str, count: int, seed: int, draw: Callable[[random.Random, int], Row]) -> list[Row]:
    """The first `count` different rows drawn that belong to `split`; a longer set begins with the shorter one."""
    most = MAXIMUM[task]
    if split not in most:
        raise ValueError(f"{task}: split {split!r} is unknown; accepted: {', '.join(most)}")
    if not 0 <= count <= most[split]:
        raise ValueError(f"{task}: {count} {split} rows asked for; accepted: 0 to {most[split]}")
    rng, seen, rows = _rng(task, split, seed), set(), []
    while len(rows) < count:
        row = draw(rng, len(rows))
        text = row["messages"][1]["content"]
        if text not in seen and split_of(row["meaning"]) == split:
            seen.add(text)
            rows.append(row)
    return rows


def words(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


# ---- sentiment ----------------------------------------------------------------------------------------------------

WORDS = {
    "positive": words(
        "good great superb lovely clever funny charming brilliant moving fresh warm gripping witty elegant delightful "
        "honest tender bright wonderful thrilling"
    ),
    "negative": words(
        "bad awful dull weak clumsy boring silly flat stale cold tedious noisy shallow painful dreadful fake lazy "
        "gloomy terrible messy"
    ),
}
FEELINGS = {
    "positive": ["made me smile", "won me over", "kept me happy", "touched my heart", "was a joy"],
    "negative": ["put me to sleep", "let me down", "made me angry", "wasted my time", "was a chore"],
}
VERBS = {"positive": words("loved enjoyed admired liked"), "negative": words("hated disliked regretted endured")}
ASPECTS = words("acting plot story music ending script cast dialogue camera pace humor opening hero scenery")
WORKS = words("film movie picture comedy drama thriller")
DEGREES = ["", "", "very ", "really ", "quite ", "truly ", "so "]
LEADS = ["", "", "", "honestly, ", "for me, ", "in short, ", "to be fair, ", "frankly, ", "overall, "]
TAILS = ["", "", "", " from start to finish", " this time", " in my eyes", " all the way", " as a whole"]

PLACES = ["the old cinema", "the town hall", "a small theater", "home", "school"]
DAYS = words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
PEOPLE = words("brother sister father mother uncle aunt friend neighbor")


def other(label: str) -> str:
    """The opposite label."""
    return LABELS[1 - LABELS.index(label)]


def short_review(rng: random.Random, label: str) -> str:
    """One sentence of opinion whose judgment is `label`; some say it by negation or by a contrast."""
    return _sentence(rng, label, rng.choice(_PLAIN + _PLAIN + _TURNED))


def long_review(rng: random.Random, label: str) -> str:
    """Several sentences: two or three opinions that agree with `label`, at most one that does not, and idle detail."""
    opinions = [_sentence(rng, label, rng.choice(_PLAIN + _TURNED)) for _ in range(rng.choice([2, 3, 3]))]
    if rng.random() < 0.5:
        opinions.insert(rng.randrange(len(opinions)), _concession(rng, other(label)))
    for _ in range(rng.choice([1, 2, 2])):
        opinions.insert(rng.randrange(len(opinions) + 1), _idle(rng))
    return " ".join(opinions)


def _sentence(rng: random.Random, label: str, clause: Callable[[random.Random, str], str]) -> str:
    text = rng.choice(LEADS) + clause(rng, label) + rng.choice(TAILS)
    return text[0].upper() + text[1:] + "."


def _adjective(rng: random.Random, label: str) -> str:
    return rng.choice(DEGREES) + rng.choice(WORDS[label])


def _aspect(rng: random.Random) -> str:
    return f"the {rng.choice(ASPECTS)}"


def _is(rng: random.Random, label: str) -> str:
    return f"{_aspect(rng)} {rng.choice(['is', 'was', 'felt'])} {_adjective(rng, label)}"


def _pair(rng: random.Random, label: str) -> str:
    first, second = rng.sample(WORDS[label], 2)
    return f"it is a {first} and {second} {rng.choice(WORKS)}"


def _felt(rng: random.Random, label: str) -> str:
    return f"{_aspect(rng)} of this {rng.choice(WORKS)} {rng.choice(FEELINGS[label])}"


def _did(rng: random.Random, label: str) -> str:
    return f"I {rng.choice(VERBS[label])} {_aspect(rng)} of this {rng.choice(WORDS[label])} {rng.choice(WORKS)}"


def _never(rng: random.Random, label: str) -> str:
    word = rng.choice(WORDS[other(label)])
    return f"{_aspect(rng)} {rng.choice(['is not', 'was not', 'was never', 'is hardly', 'was far from'])} {word}"


def _but(rng: random.Random, label: str) -> str:
    return f"{_aspect(rng)} is {rng.choice(WORDS[other(label)])}, but {_is(rng, label)}"


def _despite(rng: random.Random, label: str) -> str:
    return f"despite the {rng.choice(WORDS[other(label)])} {rng.choice(ASPECTS)}, {_is(rng, label)}"


_PLAIN = [_is, _pair, _felt, _did]
_TURNED = [_never, _but, _despite]


def _concession(rng: random.Random, label: str) -> str:
    return f"{rng.choice(['True', 'Granted', 'I admit', 'Of course'])}, {_is(rng, label)}."


def _idle(rng: random.Random) -> str:
    day, person, place, work = (rng.choice(x) for x in (DAYS, PEOPLE, PLACES, WORKS))
    return rng.choice(
        [
            f"I saw it on a {day} with my {person}.",
            f"My {person} and I watched it at {place}.",
            f"We went to {place} on {day}.",
            f"My {person} talks about every {work}.",
            f"There is a second {work} planned for {day}.",
            f"It rained on {day} and the bus was late.",
        ]
    )


# ---- math ---------------------------------------------------------------------------------------------------------

NAMES = words("Tom Ann Ben Mia Sam Eva Leo Zoe Max Lily Jack Nora Paul Ruth Adam Kate")
THINGS = words("apples pens books coins cards shells stamps eggs nuts balls cups keys plums toys bricks beads")
BOXES = words("boxes bags jars rows packs shelves")


def word_problem(rng: random.Random) -> tuple[str, list[str], int]:
    """A question, its worked steps (`12 + 5 = 17`) and its answer."""
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    story, value, steps = _start(rng, name, thing)
    for _ in range(rng.choice([0, 1, 1] if steps else [1, 2, 2])):
        sentence, step, value = _change(rng, name, thing, value)
        story, steps = f"{story} {sentence}", [*steps, step]
    asks = [f"How many {thing} does {name} have now?", f"How many {thing} are there in the end?"]
    return f"{story} {rng.choice(asks)}", steps, value


def _start(rng: random.Random, name: str, thing: str) -> tuple[str, int, list[str]]:
    """How the story begins, how many things there are then, and the steps to know it."""
    if rng.random() < 0.3:
        groups, each = rng.randint(2, 9), rng.randint(2, 9)
        box = rng.choice(BOXES)
        has, fills = f"has {groups} {box} of {each} {thing}.", f"fills {groups} {box} with {each} {thing} each."
        return f"{name} {rng.choice([has, fills])}", groups * each, [f"{groups} * {each} = {groups * each}"]
    value = rng.randint(5, 60)
    return f"{name} {rng.choice(['has', 'owns', 'starts with', 'keeps'])} {value} {thing}.", value, []


def _change(rng: random.Random, name: str, thing: str, value: int) -> tuple[str, str, int]:
    """One event: its sentence, its step and the new number."""
    if value >= 4 and (value > 90 or rng.random() < 0.5):
        k = rng.randint(2, min(40, value - 2))
        verb = rng.choice(["loses {k}", "gives away {k}", "sells {k}", "breaks {k}", "drops {k}"])
        after, sign = value - k, "-"
    else:
        k = rng.randint(2, min(40, 99 - value))
        verb = rng.choice(["buys {k} more", "finds {k} more", "gets {k} more", "wins {k}", "makes {k} more"])
        after, sign = value + k, "+"
    when = rng.choice(["", "", "Then ", "Later ", "On Monday "])
    return f"{when}{name} {verb.format(k=k)}.", f"{value} {sign} {k} = {after}", after


# ---- code ---------------------------------------------------------------------------------------------------------

NUMBER = ["x", "n", "a", "value", "number"]
SECOND = {"x": "y", "n": "m", "a": "b", "value": "other", "number": "limit"}
SERIES = ["items", "values", "numbers", "data", "things"]
STRING = ["text", "word", "line", "name", "s"]
TITLES = words(
    "solve step rule blend shift track change adjust compute update measure convert process handle select pick find "
    "get make build apply run form reduce"
)
RETURNS = ["Return", "Give", "Compute"]

# What the function returns in words, in Python, and the range of its constants; {v} is the argument, {w} a second.
OPERATIONS: dict[str, list[tuple[str, str, int]]] = {
    "number": [
        ("{v} plus {k}", "{v} + {k}", 40),
        ("{v} minus {k}", "{v} - {k}", 40),
        ("{v} times {k}", "{v} * {k}", 40),
        ("the remainder of {v} by {k}", "{v} % {k}", 20),
        ("the larger of {v} and {k}", "max({v}, {k})", 40),
        ("the smaller of {v} and {k}", "min({v}, {k})", 40),
        ("whether {v} is above {k}", "{v} > {k}", 40),
        ("whether {v} is below {k}", "{v} < {k}", 40),
        ("whether {v} is a multiple of {k}", "{v} % {k} == 0", 20),
        ("{v} plus {k}, all times {j}", "({v} + {k}) * {j}", 20),
        ("{v} minus {k}, all times {j}", "({v} - {k}) * {j}", 20),
        ("{v} times {k}, plus {j}", "{v} * {k} + {j}", 20),
        ("{v} times {k}, minus {j}", "{v} * {k} - {j}", 20),
        ("the square of {v}, plus {k}", "{v} * {v} + {k}", 40),
    ],
    "pair": [
        ("{v} plus {w}, minus {k}", "{v} + {w} - {k}", 40),
        ("{v} times {w}, plus {k}", "{v} * {w} + {k}", 40),
        ("the larger of {v} and {w}, plus {k}", "max({v}, {w}) + {k}", 40),
        ("the smaller of {v} and {w}, times {k}", "min({v}, {w}) * {k}", 40),
    ],
    "series": [
        ("the sum of {v}, plus {k}", "sum({v}) + {k}", 40),
        ("the largest of {v}, minus {k}", "max({v}) - {k}", 40),
        ("the {v} above {k}", "[i for i in {v} if i > {k}]", 40),
        ("the {v} below {k}", "[i for i in {v} if i < {k}]", 40),
        ("each of {v} plus {k}", "[i + {k} for i in {v}]", 40),
        ("each of {v} times {k}", "[i * {k} for i in {v}]", 40),
        ("the first {k} of {v}", "{v}[:{k}]", 9),
        ("the last {k} of {v}", "{v}[-{k}:]", 9),
    ],
    "string": [
        ("{v} repeated {k} times", "{v} * {k}", 9),
        ("the first {k} letters of {v}", "{v}[:{k}]", 9),
        ("{v} without its first {k} letters", "{v}[{k}:]", 9),
        ("the length of {v}, plus {k}", "len({v}) + {k}", 40),
        ("{v} in upper case, {k} times", "{v}.upper() * {k}", 9),
    ],
}
_OPERATIONS = [(kind, *operation) for kind, operations in OPERATIONS.items() for operation in operations]


def function(rng: random.Random) -> tuple[str, str, str, str, list[tuple[Any, ...]], str]:
    """A function to write: its name, header, docstring, the expression it returns, calls to judge it by, its meaning.

    The meaning is the expression, whatever the function and its variables are called and however it is told.
    """
    kind, words, python, top = rng.choice(_OPERATIONS)
    v = rng.choice({"number": NUMBER, "pair": NUMBER, "series": SERIES, "string": STRING}[kind])
    slots = {"v": v, "w": SECOND.get(v, ""), "k": rng.randint(2, top), "j": rng.randint(2, 9)}
    name = rng.choice(TITLES)
    header = f"def {name}({v}, {slots['w']}):" if kind == "pair" else f"def {name}({v}):"
    docstring = f"{rng.choice(RETURNS)} {words.format(**slots)}."
    meaning = python.format(**{**slots, "v": "v", "w": "w"})
    return name, header, docstring, python.format(**slots), list(_calls(kind, slots["k"])), meaning


def _calls(kind: str, k: int) -> Iterator[tuple[Any, ...]]:
    """Arguments on both sides of the constant `k`, so that a neighbouring constant or operation shows."""
    if kind == "number":
        yield from ((x,) for x in (0, 1, k - 1, k, k + 1, 2 * k, 7 * k + 3))
    elif kind == "pair":
        yield from ((0, 0), (1, k), (k, 1), (k + 1, 2), (3, 10), (12, 5))
    elif kind == "series":
        yield from (([k],), ([k - 1, k, k + 1],), ([1, 2 * k, 3 * k],), (list(range(12)),), (list(range(60, 0, -7)),))
    else:
        yield from (("a",), ("tree",), ("window",), ("abcdefghijklm",), ("Hello you",))


def _asserts(name: str, header: str, expression: str, calls: list[tuple[Any, ...]]) -> list[str]:
    """One assert for each call, with the value that `expression` gives."""
    parameters = [p.strip() for p in header[header.index("(") + 1 : -2].split(",")]
    compiled = compile(expression, name, "eval")
    asserts = []
    for call in calls:
        expected = eval(compiled, dict(zip(parameters, call, strict=True)))
        asserts.append(f"assert {name}({', '.join(map(repr, call))}) == {expected!r}")
    return asserts
