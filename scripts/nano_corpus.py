"""The text that the embedded base model reads: generated prose, reviews, worked stories and Python functions.

It holds the skills and the words of the three generated tasks (`bakeoff.data.mini`), told in many layouts of notes,
letters and files, and never their chat format: no System, User and Assistant turns, no line `Final Answer: N`. What a
layout answers depends on the line that opens it, so that the model learns to be steered by what comes first. Items
whose text `split_of` gives to validation or test are never drawn. (For functions that is their text, as it was when
the committed weights were made; the task itself now splits them by what they compute.)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import TypeVar

from bakeoff.data import mini

T = TypeVar("T")

CHATTER = [
    "Thank you for the note.",
    "I will read it again later.",
    "That is what it says here.",
    "Please write again soon.",
    "We can talk about it tomorrow.",
    "I have nothing to add.",
    "It arrived late, as always.",
    "Let me think about it.",
    "Somebody should look at this.",
    "I am not sure what to say.",
    "The rest is on the next page.",
    "This was sent to the office.",
    "Keep it in the drawer.",
    "My pen is out of ink.",
]
CHATTER_OPENINGS = [
    "Here people only chat.",
    "Notes and small talk follow.",
    "These are polite replies.",
    "Nobody gives an answer here.",
    "Only thanks and kind words here.",
]
HEADINGS = mini.words(
    "Note Card Page Letter Front Left Above First Entry Slip Sheet Item Text Desk Morning Visitor Guest Reader Sender "
    "Box"
)
ANSWERS = mini.words(
    "Reply Back Below Right Margin Second Answer Result Clerk Host Editor Evening Helper Teacher Desk Output End"
)


def documents(seed: int) -> Iterator[str]:
    """An endless stream of documents, the same for the same seed."""
    rng = random.Random(f"nano corpus {seed}")
    kinds = [reviews, stories, functions, filler]
    while True:
        (kind,) = rng.choices(kinds, weights=[38, 30, 24, 8])
        yield kind(rng)


def reviews(rng: random.Random) -> str:
    """Reviews of films and what somebody says of them."""
    if rng.random() < 0.2:
        return _told_review(rng)
    many = rng.random() < 0.3
    behaviour, announced = _choose(rng, {"word": 5, "sentence": 3, "topic": 1, "chat": 2})
    pairs = []
    for _ in range(rng.choice([2, 3, 4]) if many else 1):
        label = rng.choice(mini.LABELS)
        text = _review(rng, label, long=not many and rng.random() < 0.6)
        pairs.append((text, _judgment(rng, behaviour, text, label)))
    openings = {
        "word": [
            "One word for each: positive or negative.",
            "Is it positive or negative? One word will do.",
            "Sorted by mood, positive or negative.",
            "The mood of the text, in a word.",
            "Each gets a word, negative or positive.",
        ],
        "sentence": [
            "Somebody says in a sentence if it is positive or negative.",
            "The mood is told in a sentence.",
            "What kind of review it is, in full.",
        ],
        "topic": ["What it is about, in a word.", "The topic comes after the text.", "They name the first thing told."],
        "chat": CHATTER_OPENINGS,
    }
    return _layout(rng, rng.choice(openings[behaviour]) if announced else "", pairs)


def stories(rng: random.Random) -> str:
    """Stories with numbers, worked step by step, and plain sums."""
    if rng.random() < 0.2:
        return _sums(rng)
    behaviour, announced = _choose(rng, {"lines": 5, "prose": 2, "chat": 1.5})
    pairs, ending = [], rng.choice(_ENDINGS)
    for _ in range(rng.choice([1, 1, 1, 2])):
        question, steps, answer = _draw(mini.word_problem, lambda item: item[0], rng)
        thing = next(word.strip(".,") for word in question.split() if word.strip(".,") in mini.THINGS)
        if behaviour == "lines":
            reply = "\n".join([*steps, ending.format(n=answer, thing=thing)]) if ending else "\n".join(steps)
        elif behaviour == "prose":
            reply = f"{'. '.join(steps)}. {rng.choice(_SO).format(n=answer, thing=thing)}"
        else:
            reply = rng.choice(CHATTER)
        pairs.append((question, reply))
    openings = {
        "lines": [
            "Worked out line by line.",
            "Every step has its own line.",
            "The steps come first, then the final answer.",
            "Step by step, with the Final Answer below.",
        ],
        "prose": ["Worked out in a row.", "All the steps in one line.", "Told in one breath."],
        "chat": CHATTER_OPENINGS,
    }
    return _layout(rng, rng.choice(openings[behaviour]) if announced else "", pairs)


def functions(rng: random.Random) -> str:
    """Python functions with docstrings, alone, in files, and written again without the docstring."""
    if rng.random() < 0.35:
        return "\n\n".join(_with_docstring(*_function(rng)) for _ in range(rng.choice([1, 2, 3, 4])))
    behaviour, announced = _choose(rng, {"again": 6, "body": 1, "words": 1.5, "chat": 1.5})
    pairs = []
    for _ in range(rng.choice([1, 1, 2])):
        header, docstring, expression = _function(rng)
        replies = {
            "again": f"{header}\n    return {expression}",
            "body": f"    return {expression}",
            "words": f"It gives {docstring.split(' ', 1)[1]}",
            "chat": rng.choice(CHATTER),
        }
        pairs.append((f'{header}\n    """{docstring}"""', replies[behaviour]))
    openings = {
        "again": [
            "The whole function follows each time.",
            "First what it should do, then the function.",
            "Python functions, written out.",
            "Each header is written again with its body.",
        ],
        "body": ["Only the body follows.", "The last line is kept apart."],
        "words": ["What it gives, in words.", "Functions told in a sentence."],
        "chat": CHATTER_OPENINGS,
    }
    return _layout(rng, rng.choice(openings[behaviour]) if announced else "", pairs)


def filler(rng: random.Random) -> str:
    """Small prose in which the words of roles, labels and answers occur among others."""
    return " ".join(_filler_sentence(rng) for _ in range(rng.randint(2, 5)))


# ---- layouts ------------------------------------------------------------------------------------------------------


def _layout(rng: random.Random, opening: str, pairs: list[tuple[str, str]]) -> str:
    """Texts and replies set out as notes: the opening line if there is one, headings (mostly), one style for all."""
    before, after = rng.choice(HEADINGS), rng.choice(ANSWERS)
    if rng.random() < 0.3:
        before, after = rng.choice(mini.NAMES), rng.choice(mini.NAMES)
    style = rng.choice(["colon", "colon", "same", "plain", "none", "answer"])
    top = rng.choice(["", "", f"{rng.choice(HEADINGS)}\n", f"{rng.choice(HEADINGS)}:\n"])
    if not opening and rng.random() < 0.5:
        top = f"{top}{_filler_sentence(rng)}\n" if top else ""
    blocks = []
    for text, reply in pairs:
        if style == "colon":
            blocks.append(f"{before}:\n{text}\n{after}:\n{reply}")
        elif style == "same":
            joint = " " if "\n" not in text + reply else "\n"
            blocks.append(f"{before}:{joint}{text}\n{after}:{joint}{reply}")
        elif style == "plain":
            blocks.append(f"{before}\n{text}\n{after}\n{reply}")
        elif style == "answer":
            blocks.append(f"{text}\n{after}:\n{reply}")
        else:
            blocks.append(f"{text}\n{reply}")
    lines = [f"{top}{opening}" if opening else top.rstrip("\n"), *blocks]
    return rng.choice(["\n", "\n", "\n\n"]).join(line for line in lines if line)


def _choose(rng: random.Random, weights: dict[str, float]) -> tuple[str, bool]:
    """A behaviour, and whether a line that opens the document announces it; unannounced it is mostly chat."""
    announced = rng.random() < 0.7
    if not announced and rng.random() < 0.6:
        return "chat", False
    return rng.choices(list(weights), weights=list(weights.values()))[0], announced


def _draw(draw: Callable[[random.Random], T], text: Callable[[T], str], rng: random.Random) -> T:
    """An item that the tasks would train on: never one of their validation or test splits."""
    while mini.split_of(text(item := draw(rng))) != "train":
        pass
    return item


# ---- reviews ------------------------------------------------------------------------------------------------------


def _review(rng: random.Random, label: str, *, long: bool) -> str:
    draw = mini.long_review if long else mini.short_review
    return _draw(lambda r: draw(r, label), lambda text: text, rng)


def _judgment(rng: random.Random, behaviour: str, text: str, label: str) -> str:
    """What somebody says of a review."""
    if behaviour == "word":
        return label
    if behaviour == "topic":
        return next((w for w in text.replace(",", "").replace(".", "").split() if w in mini.ASPECTS), "nothing")
    if behaviour == "chat":
        return rng.choice(CHATTER)
    return rng.choice(
        [
            f"This is a {label} review.",
            f"It is {label}, I think.",
            f"{rng.choice(mini.NAMES)} finds it {label}.",
            f"The review is {label}.",
            f"A {label} text, not a {mini.other(label)} one.",
        ]
    )


def _told_review(rng: random.Random) -> str:
    """A review inside a story, with the judgment before or after it."""
    label, name = rng.choice(mini.LABELS), rng.choice(mini.NAMES)
    text = _review(rng, label, long=rng.random() < 0.5)
    return rng.choice(
        [
            f"A {label} review. {text}",
            f"{name} wrote a {label} letter: {text}",
            f"{text} So {name} was {label} about it.",
            f"{text} That was {label}, said {name}.",
            f'{name} wrote: "{text}" The word for it is "{label}" and nothing else.',
            f"{name} was {label} about the {rng.choice(mini.WORKS)}. {text}",
            f"From the {label} pile: {text}",
        ]
    )


# ---- numbers ------------------------------------------------------------------------------------------------------

_ENDINGS = [
    "",
    "The final answer is {n}.",
    "Final Answer is {n}",
    "Final Answer: the number {n}",
    "Final Answer in {thing}: {n}",
    "So there are {n} {thing}.",
    "That makes {n}.",
    "Result: {n}",
    "Total: {n}",
]
_SO = ["So the final answer is {n}.", "That makes {n} {thing}.", "So there are {n} {thing} now.", "The answer is {n}."]


def _sums(rng: random.Random) -> str:
    """A page of plain sums."""
    lines = []
    for _ in range(rng.randint(3, 8)):
        a, b = rng.randint(1, 60), rng.randint(1, 40)
        if rng.random() < 0.25:
            a, b = rng.randint(2, 9), rng.randint(2, 9)
            lines.append(f"{a} * {b} = {a * b}")
        elif rng.random() < 0.5:
            lines.append(f"{a} + {b} = {a + b}")
        else:
            lines.append(f"{a + b} - {b} = {a}")
    return "\n".join(lines)


# ---- functions ----------------------------------------------------------------------------------------------------


def _function(rng: random.Random) -> tuple[str, str, str]:
    """A header, a docstring and an expression."""

    def user(item: tuple[str, str, str, str, object, str]) -> str:
        return f'{item[1]}\n    """{item[2]}"""'

    _, header, docstring, expression, _, _ = _draw(mini.function, user, rng)
    return header, docstring, expression


def _with_docstring(header: str, docstring: str, expression: str) -> str:
    return f'{header}\n    """{docstring}"""\n    return {expression}'


# ---- prose --------------------------------------------------------------------------------------------------------


def _filler_sentence(rng: random.Random) -> str:
    name, other, day, place = (rng.choice(x) for x in (mini.NAMES, mini.NAMES, mini.DAYS, mini.PLACES))
    return rng.choice(
        [
            f"{name} met {other} at {place} on {day}.",
            f"User number {rng.randint(2, 90)} called on {day}.",
            f"The user asked and the assistant wrote it down for {name}.",
            f"Assistant {name} works for the system.",
            f"System {rng.randint(2, 9)} was slow on {day}.",
            f"The Assistant helped every User of the System at {place}.",
            f"You read films and reviews of stories, said {name}.",
            "You write functions and solve stories with numbers.",
            "You solve reviews, you read Python, you write stories.",
            f"The exam of {day} was positive for {name} and negative for {other}.",
            "Positive numbers are above zero and negative numbers below.",
            f"The Final Answer of the game was a surprise for {name}.",
            f"{name} has {rng.randint(2, 90)} {rng.choice(mini.THINGS)} at {place}.",
            f"My {rng.choice(mini.PEOPLE)} and {name} like the {rng.choice(mini.WORKS)}.",
            rng.choice(CHATTER),
        ]
    )
