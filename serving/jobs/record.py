"""The record of a job: a folder that the process at work writes and everyone may read.

<home>/jobs/<id>/   job.json, lock (held while the job runs), log.txt (of a job that the server started)
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from enfold import wire
from enfold.errors import EnfoldError, WrongUse
from enfold.settings import Settings
from serving import lock

_WRITE_SECONDS = 0.5
_LOG_BYTES = 4000


Word = Annotated[str, Field(pattern=r"^[^-\x00][^\x00]*$", max_length=4096)]  # never read as an option


class Arguments(BaseModel, extra="forbid"):
    """What a job of one kind is asked to do."""

    @classmethod
    def checked(cls, **arguments: Any) -> Self:
        try:
            return cls.model_validate(arguments)
        except ValidationError as error:
            first = error.errors()[0]
            field, known = ".".join(map(str, first["loc"])), ", ".join(cls.model_fields)
            raise WrongUse(f"argument '{field}': {first['msg']}. Arguments: {known}") from None

    def id(self, settings: Settings) -> str:
        """The same for the same job, whoever asks."""
        raise NotImplementedError

    def words(self) -> list[str]:
        """The command that does it, without `enfold`."""
        raise NotImplementedError


def new(folder: Path, kind: str, command: list[str]) -> wire.Job:
    """A queued job, written."""
    created = datetime.now(UTC).isoformat(timespec="milliseconds")
    job = wire.Job(id=folder.name, kind=kind, state="queued", created=created, command=command)
    write(folder, job)
    return job


def read(folder: Path) -> wire.Job:
    """The job as it stands: running only while its process holds the lock."""
    job = wire.Job.model_validate_json((folder / "job.json").read_bytes())
    alive = lock.holder(folder / "lock") is not None
    if alive:
        job.state = "running"
    elif job.state == "running":
        job.state = "failed"  # it was killed; the same command goes on
    job.log = _tail(folder / "log.txt")
    return job


def write(folder: Path, job: wire.Job) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"job.{os.getpid()}.draft"
    draft.write_text(job.model_dump_json(exclude={"log"}))
    os.replace(draft, folder / "job.json")


class Running:
    """A job at work: tells how far it is, on the terminal and in its record."""

    def __init__(self, folder: Path, job: wire.Job, bar: Progress):
        self._folder, self._job, self._bar = folder, job, bar
        self._task = bar.add_task(job.kind, total=None)
        self._written = 0.0

    def tell(self, phase: str, **facts: float) -> None:
        """What it does now; `done` of `total` move the bar."""
        known = self._job.progress.get("phase") == phase
        self._job.progress |= {"phase": phase, **facts}
        done, total = self._job.progress.get("done", 0), self._job.progress.get("total")
        self._bar.update(self._task, description=phase, completed=done, total=total)
        if not known or time.monotonic() - self._written > _WRITE_SECONDS:
            self._written = time.monotonic()
            write(self._folder, self._job)

    def say(self, sentence: str) -> None:
        """A line above the bar, and in the log."""
        self._bar.console.print(sentence, highlight=False)

    def end(self, state: str, **facts: Any) -> None:
        self._job.state = state
        self._job.progress |= facts
        write(self._folder, self._job)


@contextmanager
def running(folder: Path, kind: str, command: list[str]) -> Iterator[Running]:
    """Hold the job's lock and keep its record while the block works. Raises Conflict if the job runs already."""
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    shown = Progress(*columns, console=Console(file=sys.stderr), transient=True)
    with lock.hold(folder / "lock", "this job"), shown as bar:
        job = new(folder, kind, command)
        job.state = "running"
        work = Running(folder, job, bar)
        work.tell("starting")
        try:
            yield work
        except KeyboardInterrupt:
            work.end("cancelled")
            raise
        except BaseException as error:
            work.end("failed", error=str(error) if isinstance(error, EnfoldError) else repr(error))
            raise
        work.end("done")


def _tail(file: Path) -> str:
    if not file.exists():
        return ""
    with file.open("rb") as log:
        log.seek(max(0, file.stat().st_size - _LOG_BYTES))
        return log.read().decode(errors="replace")
