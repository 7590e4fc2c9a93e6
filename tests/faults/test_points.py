"""Every failpoint, struck by a kill, an exit, a full disk and a failing one: the run goes on to the same store."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from bakeoff.store import durable
from bakeoff.store.store import Store
from faults import harness
from faults.breaks import ACTIONS, EXITED
from faults.conftest import log_of
from faults.harness import Ended

pytestmark = pytest.mark.slow

WRITTEN = [point for point in durable.POINTS if not point.startswith("move.")]
MOVED = [point for point in durable.POINTS if point.startswith("move.")]  # passed where something is damaged
CASES = [(point, action, place) for point in WRITTEN for action in ACTIONS for place in ("first", "middle")]


def test_every_failpoint_is_passed(study):
    assert set(harness.passages(log_of(study.out))) == set(WRITTEN)


@pytest.mark.parametrize(("point", "action", "place"), CASES)
def test_a_failpoint(study, out, point, action, place):
    """What was finished is whole at once, without a resumption, and one line says what broke."""
    passed = harness.passages(log_of(study.out))[point]
    ended = study.start(out, point=point, hit=1 if place == "first" else 1 + passed // 2, action=action).end()
    if action == "EIO" and harness.struck(log_of(out)).name == "progress.json":  # nothing that may stop a run
        assert ended.code == 0
        return study.equal(out)
    check(ended, action, out)
    assert Store(out).examine() == {}
    study.resume(out)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("point", MOVED)
def test_a_failpoint_while_damage_is_set_aside(study, out, point, action):
    shutil.copytree(study.out, out)
    key = sorted(harness.stored(out))[3]
    (out / "trials" / key / "curve.jsonl").write_bytes(b"")
    check(study.start(out, point=point, hit=1, action=action).end(), action, out)
    assert study.start(out).end().code == 0
    assert [path.name for path in (out / "damaged").iterdir()] == [key]
    shutil.rmtree(out / "damaged")
    study.equal(out)


def check(ended: Ended, action: str, out: Path) -> None:
    """That a strike ended a run as it should: where the program could say so, in one line."""
    if action in ("ENOSPC", "EIO"):
        assert ended.code == 1
        assert ended.error.startswith(f"error: {out}/") and "what was finished is kept; " in ended.error
        assert f"cannot be written ({os.strerror(getattr(errno, action))})" in ended.error
    else:
        assert ended.code == (EXITED if action == "exit" else -signal.SIGKILL)


@pytest.mark.parametrize("action", ["SIGKILL", "EIO"])
@pytest.mark.parametrize("point", ["write.written", "fill.end", "publish.renamed"])
def test_every_file_of_another_name(study, tmp_path, point, action):
    """plan.json, results.json, each kind of report, a trial's files, a checkpoint's."""
    lines = [line.partition(" ") for line in log_of(study.out).read_text().splitlines()]
    paths = [Path(path) for name, _, path in lines if name == point]
    names = [re.sub(r"\d", "", path.parent.parent.name if point == "publish.renamed" else path.name) for path in paths]
    for number, name in enumerate(sorted({*names} - {"progress.json"})):
        out = tmp_path / f"{number}"
        check(study.start(out, point=point, hit=1 + names.index(name), action=action).end(), action, out)
        study.resume(out)
