"""Damaged files: each is named in a line, exactly what was lost is made again, and no number is ever told of damage."""

from __future__ import annotations

import contextlib
import io
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bakeoff.cli import main
from faults import harness
from faults.conftest import log_of

pytestmark = pytest.mark.slow

Harm = Callable[[Path], None]


def cut(part: int) -> Harm:
    """Truncate a file to so many 16ths."""

    def harm(path: Path) -> None:
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * part // 16])

    return harm


def flip(chance: int) -> Harm:
    """Turn one bit over."""

    def harm(path: Path) -> None:
        data, where = bytearray(path.read_bytes()), random.Random(chance)
        data[where.randrange(len(data))] ^= 1 << where.randrange(8)
        path.write_bytes(data)

    return harm


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link(path: Path) -> None:
    """To the very same bytes, elsewhere."""
    kept = path.parent.parent.parent / "elsewhere"
    shutil.copy(path, kept)
    path.unlink()
    path.symlink_to(kept)


HARMS: dict[str, Harm] = {
    **{f"cut to {n}/16": cut(n) for n in range(16)},
    **{f"bit {n}": flip(n) for n in range(3)},
    "folder": folder,
    "link": link,
    "gone": Path.unlink,
}
RUN = ("cut to 0/16", "cut to 11/16", "bit 0", "folder", "link", "gone")


def asked(*argv: object) -> tuple[int, str]:
    """A command in this process: how it ended, and what it said."""
    out, before = io.StringIO(), sys.argv
    sys.argv = ["bakeoff", *(str(one) for one in argv)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            main()
    except SystemExit as ended:
        return int(ended.code or 0), out.getvalue()
    finally:
        sys.argv = before
    return 0, out.getvalue()


def files(directory: Path) -> list[str]:
    """Every file of one trial of each engine, and the study's own that are read again."""
    trials = sorted(path.parent for path in (directory / "trials").glob("*/record.json"))
    engines = {("ia3" in (one / "trial.json").read_text()): one for one in trials}
    own = [directory / name for name in ("plan.json", "study.yaml", "results.json")]
    found = [*own, *(directory / "prompts").iterdir(), *(p for one in engines.values() for p in one.rglob("*"))]
    return [str(path.relative_to(directory)) for path in sorted(found) if path.is_file()]


@pytest.mark.slow
@pytest.mark.parametrize("harm", HARMS)
def test_verify_status_and_report_name_it(study, tmp_path, harm):
    """Or tell the same numbers, where the file is none that they read."""
    for n, name in enumerate(files(study.out)):
        out = tmp_path / f"{n}"
        shutil.copytree(study.out, out)
        HARMS[harm](out / name)
        changed = not (out / name).is_file() or (out / name).read_bytes() != (study.out / name).read_bytes()
        for command in ("verify", "status", "report"):
            code, said = asked(command, out)
            assert "Traceback" not in said
            if code == 0 and command == "report":
                assert harness.dump(out)["results.json"] == study.dump["results.json"], (name, said)
            if command == "verify" and (changed or harm == "link"):
                assert code == 1 and Path(name).name in said, (name, said)
        shutil.rmtree(out)


@pytest.mark.slow
@pytest.mark.parametrize("harm", RUN)
def test_a_run_makes_what_was_lost_again(study, tmp_path, harm):
    for n, name in enumerate(files(study.out)):
        out = tmp_path / f"{n}"
        shutil.copytree(study.out, out)
        before = harness.stored(out)
        HARMS[harm](out / name)
        ended = study.start(out).end()
        assert ended.code == 0 and Path(name).name in ended.out and "damaged" in ended.out, (name, ended)
        lost = {name.split("/")[1]} if name.startswith("trials/") else set()
        after = harness.stored(out)
        assert {key for key in before if after[key] != before[key]} == lost
        shutil.rmtree(out / "damaged")
        study.equal(out)
        shutil.rmtree(out)


@pytest.mark.slow
@pytest.mark.parametrize("harm", RUN)
def test_a_run_goes_on_without_a_damaged_checkpoint(study, tmp_path, harm):
    """From the one before it; and from the start where that is damaged too."""
    killed = tmp_path / "killed"
    study.interrupted(killed)
    newest, older = sorted(killed.glob("checkpoints/*/*"), key=lambda path: -int(path.name))
    for n, path in enumerate(sorted(newest.iterdir())):
        for both in (False, True):
            out = tmp_path / f"{n}-{both}"
            shutil.copytree(killed, out)
            for one in (newest, older) if both else (newest,):
                HARMS[harm](out / one.relative_to(killed) / path.name)
            ended = study.start(out).end()
            assert ended.code == 0 and path.name in ended.out and "damaged" in ended.out, (path, ended)
            assert ("training starts anew" in ended.out) == both
            shutil.rmtree(out / "damaged")
            assert harness.differences(harness.dump(out), study.dump) == []
            assert harness.steps(log_of(out)) > 0


def test_a_damaged_trial_is_named_and_made_again(study, out):
    """One harm of each kind of file, quickly; the others are slow."""
    shutil.copytree(study.out, out)
    key = sorted(harness.stored(out))[0]
    cut(11)(out / "trials" / key / "samples.jsonl")
    code, said = asked("report", out)
    assert code == 1 and "samples.jsonl" in said and len(said.strip().splitlines()) == 1
    ended = study.start(out).end()
    assert ended.code == 0 and "set aside in damaged/ and trained anew" in ended.out
    shutil.rmtree(out / "damaged")
    study.equal(out)
