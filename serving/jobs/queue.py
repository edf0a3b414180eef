"""The server's jobs: one at a time, each a child process `enfold …`, known by the record it keeps.

The same job has the same id whoever starts it, so starting it again goes on where it was.
"""

import logging
import os
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path

from enfold import wire
from enfold.errors import Conflict, UnknownName
from enfold.settings import Settings
from serving import lock
from serving.jobs import record
from serving.jobs.drift import Drift
from serving.jobs.embed import Embedding
from serving.jobs.health import Health
from serving.jobs.layout import Layout
from serving.jobs.upgrade import Upgrade

KINDS: dict[str, type[record.Arguments]] = {
    "embed": Embedding,
    "layout": Layout,
    "health": Health,
    "drift": Drift,
    "upgrade": Upgrade,
}
_STOP_SECONDS = 10
_log = logging.getLogger(__name__)


class Jobs:
    def __init__(self, settings: Settings, key: str):
        """key   with which jobs speak to this server"""
        self._settings, self._key = settings, key
        self._waiting: deque[str] = deque()  # ids
        self._child: subprocess.Popen[bytes] | None = None
        self._at_work: str | None = None
        self._cancelled: set[str] = set()
        self._turn = threading.Condition()
        self._closed = False
        left = [job.id for job in reversed(self.all()) if job.state == "queued"]  # by a server that was stopped
        self._waiting.extend(left)
        self._worker = threading.Thread(target=self._work, daemon=True)
        self._worker.start()

    def all(self) -> list[wire.Job]:
        """Newest first."""
        jobs = [self._read(file.parent) for file in self._settings.jobs.glob("*/job.json")]
        return sorted(jobs, key=lambda job: job.created, reverse=True)

    def get(self, id: str) -> wire.Job:
        known = {file.parent.name: file.parent for file in self._settings.jobs.glob("*/job.json")}
        if id not in known:
            raise UnknownName(f"there is no job '{id[:60]}': GET /jobs lists them")
        return self._read(known[id])

    def start(self, new: wire.NewJob) -> wire.Job:
        """Queue it. Raises WrongUse for arguments that make no sense, Conflict if it is waiting or running."""
        if new.kind not in KINDS:
            raise UnknownName.among("job kind", new.kind, KINDS)
        wanted = KINDS[new.kind].checked(**new.arguments)
        return self._queue(self._settings.jobs / wanted.id(self._settings), new.kind, ["enfold", *wanted.words()])

    def resume(self, id: str) -> wire.Job:
        """Queue a job that ended once more: it goes on where it was. Raises Conflict for one of a terminal."""
        job, folder = self.get(id), self._settings.jobs / id
        if not (folder / "log.txt").exists():  # its command may name files as that terminal sees them
            raise Conflict(f"job {id} was not started by this server: give its command again where it ran")
        return self._queue(folder, job.kind, job.command)

    def _queue(self, folder: Path, kind: str, command: list[str]) -> wire.Job:
        id = folder.name
        with self._turn:
            if id in self._waiting or id == self._at_work or lock.holder(folder / "lock") is not None:
                raise Conflict(f"job {id} is already at work: GET /jobs/{id} shows how far it is")
            job = record.new(folder, kind, command)
            (folder / "log.txt").touch()
            self._waiting.append(id)
            self._turn.notify()
        return job

    def cancel(self, id: str) -> None:
        """Stop a waiting or running job; one that has ended stays as it ended."""
        job = self.get(id)
        with self._turn:
            if id in self._waiting:
                self._waiting.remove(id)
                _mark(self._settings.jobs / id, "cancelled")
            elif id == self._at_work and self._child is not None:
                self._cancelled.add(id)
                self._child.terminate()
            elif job.state == "running":
                raise Conflict(f"job {id} was not started by this server: press Ctrl-C where it runs")

    def close(self) -> None:
        """Stop the running job, so that it can be started again; those that wait are left to the next server."""
        with self._turn:
            self._closed = True
            self._turn.notify()
            if self._child is not None:
                self._child.terminate()
        self._worker.join(_STOP_SECONDS)

    def _read(self, folder: Path) -> wire.Job:
        """The record; a job runs from the start of its process to its end."""
        job = record.read(folder)
        if job.id == self._at_work:
            job.state = "running"
        return job

    def _work(self) -> None:
        while self._begin():
            if self._child is not None:
                self._child.wait()
            with self._turn:
                self._settle()

    def _begin(self) -> bool:
        """Start what waits longest; False when the server stops."""
        with self._turn:
            self._turn.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return False
            self._at_work = self._waiting.popleft()
            try:
                self._child = _spawn(self._settings.jobs / self._at_work, self._key)
            except OSError:  # no memory, no room for its log: this job fails, the next may not
                _log.exception("job %s cannot be started", self._at_work)
            return True

    def _settle(self) -> None:
        """Give the record its last word where the child could not."""
        assert self._at_work is not None
        folder = self._settings.jobs / self._at_work
        if self._at_work in self._cancelled:
            self._cancelled.discard(self._at_work)
            _mark(folder, "cancelled")
        elif record.read(folder).state not in ("done", "cancelled"):
            _mark(folder, "failed")
        self._child = self._at_work = None


def _spawn(folder: Path, key: str) -> "subprocess.Popen[bytes]":
    """The job's command as a process of its own session: Ctrl-C reaches the server, and the server stops it."""
    command = [sys.executable, "-m", "enfold.cli", *record.read(folder).command[1:], "--json"]
    with (folder / "log.txt").open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"ENFOLD_API_KEY": key},
        )


def _mark(folder: Path, state: str) -> None:
    record.write(folder, record.read(folder).model_copy(update={"state": state}))
