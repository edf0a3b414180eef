"""The server's jobs: one at a time, each a child process `enfold …`, known by the record it keeps.

The same job has the same id whoever starts it, so starting it again goes on where it was.
"""

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from enfold import wire
from enfold.errors import Conflict, UnknownName, WrongUse
from enfold.settings import Settings
from serving.jobs import record
from serving.jobs.embed import Embedding
from serving.jobs.layout import Layout

KINDS: dict[str, type[Embedding | Layout]] = {"embed": Embedding, "layout": Layout}
_STOP_SECONDS = 10


class Jobs:
    def __init__(self, settings: Settings):
        self._settings = settings
        self._waiting: deque[str] = deque()  # ids
        self._child: subprocess.Popen[bytes] | None = None
        self._at_work: str | None = None
        self._turn = threading.Condition()
        self._closed = False
        threading.Thread(target=self._work, daemon=True).start()

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
        wanted = _checked(new)
        folder = self._settings.jobs / wanted.id(self._settings)
        with self._turn:
            if folder.name in self._waiting or (folder / "job.json").exists() and record.read(folder).state == "running":
                raise Conflict(f"job {folder.name} is already at work: GET /jobs/{folder.name} shows how far it is")
            job = record.new(folder, new.kind, ["enfold", *wanted.words()])
            self._waiting.append(folder.name)
            self._turn.notify()
        return job

    def cancel(self, id: str) -> None:
        """Stop a waiting or running job; one that has ended stays as it ended."""
        job = self.get(id)
        with self._turn:
            if id in self._waiting:
                self._waiting.remove(id)
            elif job.state == "running":
                self._stop(id)
            else:
                return
        record.write(self._settings.jobs / id, job.model_copy(update={"state": "cancelled"}))

    def close(self) -> None:
        """Stop the running job; those that wait stay unstarted."""
        with self._turn:
            self._closed = True
            self._turn.notify()
            if self._child is not None:
                self._child.terminate()

    def _work(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                id = self._waiting.popleft()
                self._child = self._spawn(self._settings.jobs / id)
                self._at_work = id
            self._child.wait()
            ...
'''
