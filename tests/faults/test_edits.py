"""Results of a newer version are refused; of an edited study only what is new is run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bakeoff.store import durable
from faults import harness

pytestmark = pytest.mark.slow


def newer(path: Path, key: str) -> None:
    """A file as a later version might have written it, listed by its hash."""
    data = json.loads(path.read_bytes())
    data[key] = 2
    path.write_text(json.dumps(data))
    if (path.parent / durable.MANIFEST).exists():
        listed = json.loads((path.parent / durable.MANIFEST).read_bytes())
        listed[path.name] = durable._entry(path).model_dump()
        (path.parent / durable.MANIFEST).write_text(json.dumps(listed))


@pytest.mark.parametrize(("name", "key"), [("plan.json", "schema"), ("trials/*/record.json", "schema_version")])
def test_results_of_a_newer_version_are_refused(study, out, name, key):
    shutil.copytree(study.out, out)
    newer(next(iter(sorted(out.glob(name)))), key)
    before = harness.dump(out)
    for ended in (study.start(out).end(), *(study.ask(command, out) for command in ("report", "verify", "status"))):
        assert ended.code in (1, 2) and "schema version 2" in ended.out + ended.err, ended
    assert harness.dump(out) == before


@pytest.mark.slow
def test_an_edited_study(study, out):
    """A seed more: its trials are run, those stored stay. A seed less again: the report is the first one."""
    study.interrupted(out)
    before = harness.stored(out)
    ended = study.start(out, "--set", "seeds=[0, 1, 2]").end()
    assert ended.code == 0 and "new in this study: " in ended.out and "seed 2" in ended.out
    assert len(harness.stored(out)) == 12 and harness.stored(out).items() >= before.items()
    ended = study.start(out).end()
    assert ended.code == 0 and "4 stored trials of an earlier form of the study: kept in trials/" in ended.out
    found = {name: one for name, one in harness.dump(out).items() if name in study.dump}
    assert harness.differences(found, study.dump) == []
