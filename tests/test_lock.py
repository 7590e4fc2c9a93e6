"""The lock: one process runs a study, and it is free as soon as that process is gone, whatever its children do."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from synthetic_store import make_store

from bakeoff.errors import InputError
from bakeoff.run.progress import Progress
from bakeoff.run.pulse import Pulse
from bakeoff.store import lock
from bakeoff.store.state import state
from bakeoff.store.store import Store

HOLD = """
import os, sys, time
from pathlib import Path
from bakeoff.store import lock
with lock.hold(Path(sys.argv[1])):
    if sys.argv[2] == "fork":
        if os.fork() == 0:
            print(os.getpid(), flush=True)
            time.sleep(60)
    elif sys.argv[2] == "spawn":
        import subprocess
        print(subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, close_fds=False).pid, flush=True)
    else:
        print(os.getpid(), flush=True)
    time.sleep(60)
"""


def held(path: Path, how: str) -> tuple[subprocess.Popen[str], int]:
    """A process that holds the lock, and the pid that it printed."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path), how], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, int(process.stdout.readline())


def test_the_refusal_says_who_where_and_since_when(tmp_path):
    process, pid = held(tmp_path / ".lock", "alone")
    try:
        with pytest.raises(InputError) as caught, Store(tmp_path).lock():
            pass
        said = f"{tmp_path}: another process is running this study (pid {pid} on "
        assert str(caught.value).startswith(said) and ", since 2" in str(caught.value)
        assert f"`bakeoff status {tmp_path} --follow` ends when it does" in str(caught.value)
        holder = Store(tmp_path).holder()
        assert holder and holder.pid == pid
        os.kill(pid, signal.SIGSTOP)  # stopped is not dead, however long it takes
        assert Store(tmp_path).holder() == holder
        os.kill(pid, signal.SIGCONT)
    finally:
        process.kill()
        process.wait()
    assert Store(tmp_path).holder() is None
    with Store(tmp_path).lock():
        pass


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_children_do_not_keep_the_lock_of_a_process_that_was_killed(tmp_path, how):
    process, child = held(tmp_path / ".lock", how)
    try:
        assert lock.holder(tmp_path / ".lock")
        process.kill()
        process.wait()
        os.kill(child, 0)  # still there
        with Store(tmp_path).lock():
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_looking_takes_nothing_away(tmp_path):
    """Whoever looks has the lock for a moment; a run that begins in that moment waits for it."""
    import fcntl

    assert Store(tmp_path).holder() is None and not (tmp_path / ".lock").exists()
    with Store(tmp_path).lock():
        told = (tmp_path / ".lock").read_text()
    assert f'"pid": {os.getpid()}' in told and (tmp_path / ".lock").read_text() == ""
    looking = os.open(tmp_path / ".lock", os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    if os.fork() == 0:
        time.sleep(0.1)
        os._exit(0)
    os.close(looking)
    with Store(tmp_path).lock():
        pass
    os.wait()


def test_a_lock_is_free_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), Store(tmp_path).lock():
        raise ZeroDivisionError
    assert Store(tmp_path).holder() is None


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def test_where_the_file_system_keeps_no_locks_a_run_says_so_and_goes_on(tmp_path, monkeypatch, number):
    def none(file: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    notes: list[str] = []

    class Notes(Progress):
        def note(self, text: str) -> None:
            notes.append(text)

    monkeypatch.setattr("fcntl.flock", none)
    store = make_store(tmp_path / "out", lambda *_: [1.0])
    with store.lock(), Pulse(Notes(), store):
        assert state(store).holder is None
    alone = "see to it that no other process runs the study"
    assert notes == [f"{tmp_path / 'out'}: its file system keeps no locks: {alone}"]
    monkeypatch.undo()
    with store.lock(), Pulse(Notes(), store):
        assert len(notes) == 1


def test_a_lock_that_leads_elsewhere_is_not_followed(tmp_path):
    (tmp_path / "mine").write_text("text")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(InputError, match="cannot be written to"), Store(tmp_path / "out").lock():
        pass
    assert (tmp_path / "mine").read_text() == "text"
