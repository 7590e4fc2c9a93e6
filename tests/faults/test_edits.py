"""Results of a newer version are refused; of an edited study only what is new is run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from synthetic_store import relist

from faults import harness

pytestmark = pytest.mark.slow


def newer(path: Path, key: str) -> None:
    """A file as a later version might have written it, listed by its hash."""
    data = json.loads(path.read_bytes())
    data[key] = 2
    path.write_text(json.dumps(data))
    if path.name == "record.json":
        relist(path.parent)


@pytest.mark.parametrize(("name", "key"), [("plan.json", "schema"), ("trials/*/record.json", "schema_version")])
def test_results_of_a_newer_version_are_refused(study, out, name, key):
    shutil.copytree(study.out, out)
    newer(next(iter(sorted(out.glob(name)))), key)
    before = harness.dump(out)
    for ended in (study.start(out).end(), *(study.ask(command, out) for command in ("report", "verify", "status"))):
        assert ended.code in (1, 2) and "schema version 2" in ended.out + ended.err, ended
    assert harness.dump(out) == before


def test_an_edited_study(study, out):
    """A seed more: its trials are run, those stored stay. A seed less again: the report is the first one."""
    study.interrupted(out)
    before = harness.stored(out)
    ended = study.start(out, "--set", "seeds=[0, 1, 2]").end()
    assert ended.code == 0 and "new in this study: " in ended.out and "seed 2" in ended.out
    assert len(harness.stored(out)) == 12 and harness.stored(out).items() >= before.items()
    ended = study.start(out).end()
    assert ended.code == 0 and "4 stored trials of an earlier form of the study: kept in trials/" in ended.out
    assert measured(harness.dump(out)["results.json"]) == measured(study.dump["results.json"])


def measured(results: Any) -> Any:
    """What results.json says without how many ran as one: an edit makes groups anew."""
    if isinstance(results, dict):
        return {key: measured(one) for key, one in results.items() if key not in ("lanes", "group_sizes")}
    return [measured(one) for one in results] if isinstance(results, list) else results
