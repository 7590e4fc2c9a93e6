"""Overlap of training and test data: against a plain count, and on real data whose overlap is known."""

import time

import pytest
from conftest import shared
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.analysis import words
from bakeoff.data.datasets import read
from bakeoff.data.example import Example, Message
from bakeoff.data.overlap import N, Overlap, overlap


def example(text: str, answer: str = "yes", system: str = "One system message that is the same for all.") -> Example:
    first, then = Message(role="system", content=system), Message(role="user", content=text)
    return Example(id=text[:9], messages=(first, then, Message(role="assistant", content=answer)))


def plainly(train: list[Example], test: list[Example]) -> Overlap:
    """The same count by sets of tuples."""

    def runs(text: str) -> set[tuple[str, ...]]:
        kept = "".join(c for c in text.lower() if c not in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~").split()
        return {tuple(kept[i : i + N]) for i in range(len(kept) - N + 1)}

    def plain(text: str) -> str:
        return " ".join(text.lower().split())

    asked = [row.messages[1].content for row in train]
    known = set().union(*(runs(text) for text in [*asked, *(row.answer for row in train)]))
    return Overlap(
        exact=sum(plain(row.messages[1].content) in set(map(plain, asked)) for row in test),
        ngram13=sum(bool(runs(row.messages[1].content) & known) for row in test),
        of=len(test),
    )


TEXTS = st.lists(st.sampled_from(["a", "B", "b", "c,", "c"]), max_size=2 * N).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, max_size=6), st.lists(TEXTS, max_size=6), TEXTS)
def test_it_is_the_plain_count(train, test, shared_text):
    taught, asked = [example(t) for t in [*train, shared_text]], [example(t, answer=t) for t in [*test, shared_text]]
    assert overlap(taught, asked) == plainly(taught, asked)
    assert overlap(asked, taught) == plainly(asked, taught)


def test_what_counts_and_what_does_not():
    words_of = " ".join(f"word{i}" for i in range(30))
    train = [example(f"Before {words_of}."), example("Short  text"), example("asked", answer=f"so {words_of}")]
    for text, exact, run in [
        ("short\ttext", 1, 0),
        ("short texts", 0, 0),
        (" ".join(words_of.upper().split()[4:17]), 0, 1),
        (" ".join(words_of.split()[4:16]), 0, 0),  # twelve words
        (f"before {words_of}.", 1, 1),
        (" ".join(reversed(words_of.split())), 0, 0),
        ("yes", 0, 0),
    ]:
        assert overlap(train, [example(text)]) == Overlap(exact=exact, ngram13=run, of=1), text
    assert overlap(train[2:], [example(words_of)]).ngram13 == 1, "a training answer that holds the question counts"
    assert overlap([example("x", system=words_of)], [example(words_of)]).ngram13 == 0, "system messages do not"
    assert overlap([], [example("x")]) == Overlap(exact=0, ngram13=0, of=1)


def test_runs_do_not_go_from_one_text_into_the_next():
    long = [f"w{i}" for i in range(20)]
    train = [example(" ".join(long[:10])), example(" ".join(long[10:]))]
    assert overlap(train, [example(" ".join(long))]).ngram13 == 0


def test_the_sentence():
    assert words.overlap("sst2", 2, 5, 872).replace("\N{NO-BREAK SPACE}", " ") == (
        "2 of 872 test items of sst2 are also in the training set, and 5 share 13 words in a row with it."
    )
    assert words.overlap("x", 1, 0, 9).startswith("1 of 9") and "is also" in words.overlap("x", 1, 0, 9)
    assert words.overlap("x", 0, 0, 9).startswith("None of 9")
    assert words.overlap("x", 0, 5, 9).endswith("is in the training set, but 5 share 13 words in a row with it.")


def rows(path: str, split: str, field: str) -> list[Example]:
    return [example(row[field]) for row in read("x/y", split, {"x/y": str(shared("data", path))}, fields={field: str})]


def test_sst2_has_two_test_sentences_in_train():
    train = rows("sst2", "train", "sentence")
    assert overlap(train, rows("sst2", "test", "sentence")).exact == 2


def test_math_train_has_nothing_of_math_500():
    found = overlap(rows("math", "train", "problem"), rows("math500", "test", "problem"))
    assert found.exact == 0 and found.of == 500


@pytest.mark.slow
def test_imdb_has_123_texts_in_both_splits_and_counting_takes_seconds():
    train, test = rows("imdb", "train", "text"), rows("imdb", "test", "text")
    both = {" ".join(e.messages[1].content.split()) for e in train} & {
        " ".join(e.messages[1].content.split()) for e in test
    }
    assert len(both) == 123
    started = time.process_time()
    found = overlap(rows("sst2", "train", "sentence"), test)
    assert time.process_time() - started < 40  # a third of it on a quiet machine
    assert found.of == 25_000
