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
    """To the very same bytes, outside the study's directory."""
    kept = next(folder for folder in path.parents if (folder / "plan.json").exists()).with_name("elsewhere")
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
    engines = {("ia3" in (one / "trial.json").read_text()): one.name for one in trials}
    own = [directory / name for name in ("plan.json", "study.yaml", "results.json")]
    found = [
        *own,
        *(directory / "prompts").iterdir(),
        *(p for one in engines.values() for p in of_a_trial(directory, one)),
    ]
    return [str(path.relative_to(directory)) for path in sorted(found)]


def of_a_trial(directory: Path, trial: str) -> list[Path]:
    return [path for path in (directory / "trials" / trial).rglob("*") if path.is_file()]


def differs(one: Path, other: Path, name: str) -> bool:
    """Whether a file is no longer the same, or none."""
    found = other / name
    return found.is_symlink() or not found.is_file() or found.read_bytes() != (one / name).read_bytes()


@pytest.mark.parametrize("harm", HARMS)
def test_verify_status_and_report_name_it(study, tmp_path, harm):
    """Or tell the same numbers, where the file is none that they read."""
    for n, name in enumerate(files(study.out)):
        out = tmp_path / f"{n}"
        shutil.copytree(study.out, out)
        HARMS[harm](out / name)
        changed = differs(study.out, out, name)
        for command, *how in (("verify",), ("status",), ("report", "--format", "json")):
            code, said = asked(command, out, *how)
            assert "Traceback" not in said
            if code == 0 and command == "report":
                assert harness.dump(out)["results.json"] == study.dump["results.json"], (name, said)
            if command == "verify" and changed:
                assert code == 1 and Path(name).name in said, (name, said)
        shutil.rmtree(out)


@pytest.mark.parametrize("harm", HARMS)
def test_a_run_makes_what_was_lost_again(study, tmp_path, harm):
    """Of every trial another file, of the study's own all but the plan, the plan: each kind of file in one of three."""
    trials = sorted(harness.stored(study.out))
    kinds = sorted(path.relative_to(study.out / "trials" / trials[0]) for path in of_a_trial(study.out, trials[0]))
    lost = {trial: f"trials/{trial}/{kind}" for trial, kind in zip(trials, kinds, strict=False)}
    assert len(lost) == len(kinds) == 7
    own = [name for name in files(study.out) if not name.startswith("trials/") and name != "plan.json"]
    for n, names in enumerate([[*lost.values()], own, ["plan.json"]]):
        out = tmp_path / f"{n}"
        shutil.copytree(study.out, out)
        before = harness.stored(out)
        for name in names:
            HARMS[harm](out / name)
        harmed = [name for name in names if differs(study.out, out, name)]
        ended = study.start(out).end()
        assert ended.code == 0, ended
        for name in harmed:
            assert Path(name).name in ended.out or name == "results.json", (name, ended)
        after = harness.stored(out)
        assert {key for key in before if after[key] != before[key]} == {key for key in lost if lost[key] in harmed}
        shutil.rmtree(out / "damaged", ignore_errors=True)
        study.equal(out)
        shutil.rmtree(out)


@pytest.mark.parametrize("harm", HARMS)
def test_a_run_goes_on_without_a_damaged_checkpoint(study, tmp_path, killed, harm):
    """From the one before it; and from the start where that is damaged too. Each kind of file in one of two runs."""
    newest, older = sorted(killed.glob("checkpoints/*/*"), key=lambda path: -int(path.name))
    kinds = sorted(path.name for path in newest.iterdir())
    assert len(kinds) == 4
    for n, one in enumerate([{newest: kinds[0]}, {newest: kinds[1]}, {newest: kinds[2], older: kinds[3]}]):
        out = tmp_path / f"{n}"
        shutil.copytree(killed, out)
        for folder, kind in one.items():
            HARMS[harm]((out / folder.relative_to(killed)) / kind)
        ended = study.start(out).end()
        assert ended.code == 0, ended
        for folder, kind in one.items():
            assert f"{folder.name}: damaged (" in ended.out and kind in ended.out, (kind, ended)
        anew = len(one) == 2
        assert ("training starts anew" in ended.out) == anew
        assert harness.steps(log_of(out)) == (12 if anew else 8)
        shutil.rmtree(out / "damaged")
        assert harness.differences(harness.dump(out), study.dump) == []
        shutil.rmtree(out)


@pytest.fixture(scope="module")
def killed(study, tmp_path_factory) -> Path:
    """A run that was killed when a group had all its answers, and had stored none of its trials."""
    out = tmp_path_factory.mktemp("damage") / "killed"
    study.interrupted(out, "publish.begin", 26)
    return out


def test_one_line_and_exit_1(study, out):
    """What a reader says that meets damage."""
    shutil.copytree(study.out, out)
    key = sorted(harness.stored(out))[0]
    cut(11)(out / "trials" / key / "samples.jsonl")
    code, said = asked("report", out)
    assert code == 1 and "samples.jsonl" in said and len(said.strip().splitlines()) == 1
