"""Store: a directory per study, a directory per trial, each written whole and renamed into place."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from bakeoff.errors import BakeoffError, DamageError, InputError
from bakeoff.store import durable, lock
from bakeoff.store.record import CurveRow, Prompt, Record, Sample
from bakeoff.study.spec import Trial
from bakeoff.version import __version__

M = TypeVar("M", bound=BaseModel)
_FOLDERS = ("figures", "staging", "prompts", "checkpoints", "trials", "damaged")
_OWN = (  # what a run overwrites
    "plan.json", "study.yaml", "results.json", "cells.csv", "report.html", "report.md", "tables.tex", *_FOLDERS,
)  # fmt: skip
_KEY = re.compile(r"[0-9a-f]{64}")
_AGAIN = "restore it, or run the study again, which sets the trial aside and repeats it"
_REMAKE = "restore it, or run the study again, which makes it anew and keeps what is done"


class Store:
    """The results of one study on disk, laid out as `study.yaml plan.json results.json report.* trials/<key>/`.

    A trial directory appears by one rename, with a manifest of its files, against which every read is checked; what is
    half written lies in `staging/` and is never read. Only one process at a time may run a study (`lock`).
    """

    def __init__(self, directory: str | Path):
        if "\0" in str(directory):
            raise InputError(repr(str(directory)), "holds a NUL, which no name can", "give another directory")
        self.directory = Path(directory)
        self.trials = self.directory / "trials"
        self._staging = self.directory / "staging"
        self.damaged: dict[str, str] = {}  # what `examine` found

    @classmethod
    def open(cls, directory: str | Path) -> Store:
        """The store in an existing directory; InputError where there is none."""
        store = cls(directory)
        try:
            there = store.stored() or os.path.lexists(store.directory / "plan.json")
        except DamageError as error:
            raise InputError(error.where, error.what, "allow reading there") from None
        if not there:
            raise InputError(
                str(directory),
                "no study's results here (plan.json is absent)",
                "name a directory that `bakeoff run` wrote",
            )
        return store

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock on the study, until the context or the process ends; InputError where another holds it."""
        with ExitStack() as held:
            try:
                durable.make_folder(self.directory)
                held.enter_context(lock.hold(self.directory / ".lock"))
            except lock.Held as other:
                what = f"another process is running this study ({other.holder})"
                wait = f"`bakeoff status {self.directory} --follow` ends when it does; or give another --out"
                raise InputError(str(self.directory), what, wait) from None
            except OSError as error:
                raise _no_place(self.directory, f"cannot be written to ({error.strerror})") from None
            yield

    def holder(self) -> lock.Holder | None:
        """The process that is running the study; None where none is."""
        return lock.holder(self.directory / ".lock")

    def earlier(self, study: str) -> dict[str, Any] | None:
        """The plan of an earlier run of this study, None before its first and where the plan is lost.

        InputError where the directory can be no place for the study's results: it cannot be made, it holds another
        study's, or files of such names that no run wrote. Nothing is written.
        """
        path = self.directory.absolute()
        try:
            there = next(place for place in (path, *path.parents) if _exists(place))
        except OSError as error:
            raise _no_place(path, f"cannot be used ({error.strerror})") from None
        if not there.is_dir():
            raise _no_place(there, "is a file, not a directory")
        if not os.access(there, os.W_OK | os.X_OK):
            raise _no_place(there, "cannot be written to")
        for name in ("trials", "damaged"):
            if (self.directory / name).is_symlink():
                raise _no_place(self.directory / name, "is a link, and results would end up elsewhere")
        if not os.path.lexists(self.directory / "plan.json"):
            for name in () if self.stored() or self._begun() else _OWN:
                if (self.directory / name).exists():
                    raise _no_place(self.directory, f"holds a {name} that is no run's (plan.json is absent)")
            return None
        try:
            plan = self.plan()
        except DamageError:
            return None
        if plan["study"] != study:
            raise _no_place(self.directory, f"holds the study '{plan['study']}', not '{study}'")
        return plan

    # --- what is there ---

    def stored(self) -> set[str]:
        """What is stored, trials of earlier forms of the study too, by the names of the directories."""
        try:
            return {path.name for path in self.trials.iterdir() if _KEY.fullmatch(path.name)} - self.damaged.keys()
        except (FileNotFoundError, NotADirectoryError):
            return set()
        except OSError as error:
            raise DamageError(self.trials, f"cannot be read ({error.strerror})", "allow reading there") from None

    def _begun(self) -> bool:
        """Whether a run has come as far as a checkpoint here."""
        return any((self.directory / "checkpoints").glob("*/*/" + durable.MANIFEST))

    def has(self, key: str) -> bool:
        """Whether the trial is complete: its directory is there, for that comes by one rename."""
        return key not in self.damaged and os.path.lexists(self.trials / key)

    def finished(self, key: str) -> bool:
        """Whether the trial is stored and did not fail."""
        return self.has(key) and self.record(key).status != "failed"

    def record(self, key: str) -> Record:
        """The trial's record; DamageError naming the file where the trial's directory is damaged."""
        path = self.trials / key / "record.json"
        data = _bytes(path, _AGAIN)
        record = _parsed(Record, data, path, _AGAIN)
        if record.key != key:
            raise DamageError(path, f"is the record of another trial ({record.key})", _AGAIN)
        self._as_written(key, "record.json", data)
        for name in ("samples.jsonl", "curve.jsonl"):
            if not (path.parent / name).is_file():
                raise DamageError(path.parent / name, "absent, though the trial is stored", _AGAIN)
        return record

    def samples(self, key: str) -> list[Sample]:
        """Every graded completion of the trial, in the order it was graded; none may be missing."""
        path = self.trials / key / "samples.jsonl"
        samples, data = _rows(Sample, path)
        for name, told in self.record(key).benchmarks.items():
            found = len({sample.id for sample in samples if sample.benchmark == name})
            if found != told.n_items:
                what = f"holds {found} items of {name}, and the record says {told.n_items}"
                raise DamageError(path, what, _AGAIN)
        self._as_written(key, path.name, data)
        return samples

    def curve(self, key: str) -> list[CurveRow]:
        """The trial's training curve, a row per optimiser step; empty where nothing was trained."""
        curve, data = _rows(CurveRow, self.trials / key / "curve.jsonl")
        self._as_written(key, "curve.jsonl", data)
        return curve

    def prompts(self, dataset: str) -> list[Prompt]:
        """What the items of the data set of that hash (`Trial.dataset`) ask; nothing in an older store."""
        path = self.directory / prompts_file(dataset)
        return _rows(Prompt, path, _REMAKE)[0] if path.exists() else []

    def adapter(self, key: str) -> Path:
        """The directory of the trained adapter in PEFT's format, as it was written."""
        for name, entry in self._manifest(key).items():
            if name.startswith("adapter/") and (what := durable.differs(self.trials / key, name, entry)):
                raise DamageError(self.trials / key / name, what, _AGAIN)
        return self.trials / key / "adapter"

    def plan(self) -> dict[str, Any]:
        """plan.json: the trials (key, model, task, method, seed) and the groups they run in."""
        path = self.directory / "plan.json"
        data = _bytes(path, _REMAKE)
        _parsed(_Plan, data, path, _REMAKE)
        plan = json.loads(data)
        told = plan.pop("sha256", None)
        if told is not None and told != digest(data.replace(_seal(told).encode(), _seal("").encode())):
            raise DamageError(path, "damaged (other bytes than were written)", _REMAKE)
        return plan

    def _as_written(self, key: str, name: str, data: bytes) -> None:
        """DamageError where a trial's file is not what its manifest says."""
        told = self._manifest(key).get(name)
        if told is None or not durable.same(told, data):
            raise DamageError(self.trials / key / name, "damaged (other bytes than were written)", _AGAIN)

    def _manifest(self, key: str) -> dict[str, durable.Entry]:
        """What was written of a trial."""
        try:
            return durable.manifest(self.trials / key)
        except ValueError as error:
            raise DamageError(self.trials / key / durable.MANIFEST, str(error), _AGAIN) from None

    # --- damage ---

    def examine(self) -> dict[str, str]:
        """What is damaged, and how, by the name of the trial or of the study's own file; what is, counts as absent.

        Every file of every trial is held against its hash.
        """
        self.damaged = {}
        stored, own = sorted(self.stored()), [*_OWN, *self._hashes()]
        there = [name for name in own if os.path.lexists(self.directory / name)]
        missed = ["plan.json", *self._hashes()] if stored else []  # before that, a run may have died over them
        names = [*missed, *there, *stored]
        self.damaged = {name: what for name in names if (what := self.wrong(name))}
        return self.damaged

    def place(self, name: str) -> Path:
        """Where that trial, or one of the study's own files, lies."""
        return (self.trials if _KEY.fullmatch(name) else self.directory) / name

    def wrong(self, name: str) -> str:
        """What is wrong with a stored trial or one of the study's own files; empty where nothing is."""
        if _KEY.fullmatch(name):
            return "; ".join(durable.check(self.place(name), extra=False))
        try:
            return self._wrong_file(name)
        except DamageError as error:
            return f"{os.path.basename(error.where)}: {error.what}"

    def _wrong_file(self, name: str) -> str:
        path = self.directory / name
        if name in _FOLDERS:  # a link would let what is written end up elsewhere; a file's is replaced
            return "" if path.is_dir() and not path.is_symlink() else f"{name}: no directory"
        if not os.path.lexists(path):
            return f"{name}: absent"
        if what := durable.no_file(path):
            return f"{name}: {what}"
        if name == "plan.json":
            self.plan()
        elif name == "results.json":
            _parsed(_Results, _bytes(path, _REMAKE), path, _REMAKE)
        elif (told := self._hashes().get(name)) and told != digest(_bytes(path, _REMAKE)):
            return f"{name}: not what plan.json says (edited, damaged, or left by a run that died)"
        return ""

    def _hashes(self) -> dict[str, str]:
        """What plan.json says of the study's other files; nothing where there is no plan that could."""
        with suppress(DamageError):
            return self.plan().get("files", {})
        return {}

    def repair(self) -> dict[str, Path]:
        """Move what `examine` found damaged, and still is, into `damaged/`: where it is now. Only under the lock."""
        moved: dict[str, Path] = {}
        for name in self.damaged:
            path = self.place(name)
            if os.path.lexists(path) and self.wrong(name):
                moved[name] = durable.move(path, self.directory / "damaged")
        self.damaged = {}
        return moved

    # --- writing ---

    def clear_staging(self) -> None:
        """Drop what a run that died left half written; only while the lock is held."""
        with durable.storing(self._staging), suppress(FileNotFoundError):
            # at one stroke: a worker that still writes there, of a run that died, fails instead of losing a part
            self._staging.rename(self.directory / f".staging.{os.getpid()}.partial")
        for path in self.partial():
            shutil.rmtree(path, ignore_errors=True)  # somebody else's (root's) may have to stay
            with suppress(OSError):
                path.unlink()

    def partial(self) -> list[Path]:
        """What of the study's own is half written, or was when a run died."""
        places = (self.directory / at for at in (".", "figures", "prompts"))
        return [path for place in places for path in place.glob(".*.[0-9]*.partial")]

    def stage(self, key: str) -> Path:
        """An empty directory in which a trial's files (the adapter first) are prepared before `commit`."""
        path = self._staged(key)
        with durable.storing(path):
            self._still_there()
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
        return path

    def commit(self, trial: Trial, record: Record, samples: Sequence[Sample], curve: Sequence[CurveRow]) -> None:
        """Add the trial's other files to its staged directory and rename it into `trials/`, all of it or nothing.

        What is stored and did not fail stays, whoever comes later.
        """
        path = self._staged(record.key)
        files = {"trial.json": indented(trial), "curve.jsonl": lines(curve), "samples.jsonl": lines(samples)}
        for name, text in (files | {"record.json": indented(record)}).items():
            durable.fill(path / name, text.encode("utf-8"))
        self._publish(record.key)

    def adopt(self, key: str, files: Mapping[str, bytes]) -> None:
        """Add a trial that another store wrote, from all of its files, as their manifest says they were written."""
        path = self.stage(key)
        for name, data in files.items():
            if name.startswith("/") or ".." in Path(name).parts:
                raise DamageError(path / name, "leads out of the trial's directory", _AGAIN)
            with durable.storing(path):
                (path / name).parent.mkdir(parents=True, exist_ok=True)
            durable.fill(path / name, data)
        if wrong := durable.check(path):
            raise DamageError(path, f"came back damaged ({'; '.join(wrong)})", _AGAIN)
        self._publish(key)

    def _publish(self, key: str) -> None:
        """Rename a trial's staged directory into `trials/`, in the place of one that failed."""
        path, final = self._staged(key), self.trials / key
        with durable.storing(final):
            if self.has(key) and not self.finished(key):
                away = durable.move(final, self._staging)
                if _status(away) != "failed":  # another writer was quicker in the moment between
                    away.rename(final)
                shutil.rmtree(away, ignore_errors=True)
            durable.make_folder(self.trials)
        durable.publish(path, final)
        with suppress(OSError):  # others may have something there
            self._staging.rmdir()

    def write(self, name: str, text: str, sync: bool = True) -> Path:
        """Write one of the study's own files (`study.yaml`, `report.html`, `figures/...`, ...), whole or not at all."""
        path = self.directory / name
        if path.parent != self.directory:
            with durable.storing(path):
                path.parent.mkdir(exist_ok=True)
        durable.write(path, text.encode("utf-8"), sync=sync)
        return path

    def _staged(self, key: str) -> Path:
        """Where this process prepares the trial: no other process writes there, on no other machine either."""
        return self._staging / f"{key}.{socket.gethostname()}.{os.getpid()}"

    def _still_there(self) -> None:
        """OSError where the study's directory is gone, or the disk it lies on: it is not to be made anew half-empty."""
        os.stat(self.directory / "plan.json")


def _status(trial: Path) -> str:
    return _parsed(Record, _bytes(trial / "record.json", _AGAIN), trial, _AGAIN).status


def prompts_file(dataset: str) -> str:
    """Where the prompts of the data set of that hash lie."""
    return f"prompts/{dataset[:16]}.jsonl"


def sealed(data: dict[str, Any]) -> str:
    """The text of plan.json, which holds the hash of all else in it."""
    text = json.dumps(data | {"sha256": ""}, indent=1) + "\n"
    return text.replace(_seal(""), _seal(digest(text.encode())))


def _seal(digest: str) -> str:
    return f'"sha256": "{digest}"'


def digest(data: bytes) -> str:
    """Its SHA-256."""
    return hashlib.sha256(data).hexdigest()


def _exists(path: Path) -> bool:
    """Whether there is anything. OSError where that cannot be told: names that are too long, loops of links."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return bool(path.stat())
    return False


def _no_place(path: Path, what: str) -> InputError:
    return InputError("--out", f"{path} {what}", "give another directory")


class _Row(BaseModel):
    """A trial as plan.json lists it; its key is the name of its directory, and leads nowhere else."""

    key: str = Field(pattern=r"^[\w -]{1,80}$")
    model: str
    task: str
    method: str
    seed: int | None


class _Tuning(BaseModel):
    """What plan.json says of the choice of learning rates."""

    decided: bool
    trials: list[_Row]


class _Plan(BaseModel):
    """What readers of plan.json rely on; it may hold more."""

    schema_version: Literal[1] = Field(alias="schema")
    study: str
    tasks: dict[str, dict[str, Any]]
    trials: list[_Row]
    groups: list[list[str]]
    group_size: int
    parameters: dict[str, dict[str, dict[str, int]]] = {}
    notes: dict[str, Any] = {}
    tuning: _Tuning | None = None
    files: dict[Annotated[str, Field(pattern=r"^(study\.yaml|prompts/[0-9a-f]{16}\.jsonl)$")], str] = {}


class _Results(BaseModel):
    """What tells results.json from other files."""

    schema_version: Literal[1] = Field(alias="schema")


def _rows(kind: type[M], path: Path, mend: str = _AGAIN) -> tuple[list[M], bytes]:
    """The rows of a file with one JSON object a line, and its bytes."""
    data = _bytes(path, mend)
    told = enumerate(data.split(b"\n"), start=1)
    return [_parsed(kind, line, f"{path}, line {number}", mend) for number, line in told if line], data


def _parsed(kind: type[M], data: bytes, where: object, mend: str) -> M:
    """JSON as a `kind`; DamageError says where it is damaged, BakeoffError that a newer Bakeoff wrote it."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
    for name in ("schema", "schema_version"):
        if first["loc"] == (name,) and first["type"] == "literal_error":
            what = f"has schema version {str(first['input'])[:20]}{_writer(data)}"
            raise BakeoffError(f"{where}: {what}, and this Bakeoff ({__version__}) reads 1; use the one that wrote it")
    place = ".".join(str(part) for part in first["loc"])
    raise DamageError(where, f"damaged ({place + ': ' if place else ''}{first['msg']})", mend)


def _writer(data: bytes) -> str:
    """Which Bakeoff wrote a plan or a record, where it tells."""
    told = json.loads(data)
    with suppress(KeyError, TypeError):
        return f" (of Bakeoff {told.get('bakeoff') or told['provenance']['versions']['bakeoff']})"
    return ""


def _bytes(path: Path, mend: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DamageError(path, f"cannot be read ({error.strerror})", mend) from None


def lines(rows: Iterable[BaseModel]) -> str:
    """A JSON object a line."""
    return "".join(row.model_dump_json() + "\n" for row in rows)


def indented(row: BaseModel) -> str:
    """A JSON object for people."""
    return row.model_dump_json(indent=1) + "\n"
