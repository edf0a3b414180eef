"""What jobs have kept of a source, gone from the disk: shards from which its points would come back, and ledgers that
name its items."""

import shutil
from contextlib import closing
from pathlib import Path

from pyarrow import parquet

from enfold.errors import WrongUse
from enfold.settings import Settings
from serving import lock
from serving.jobs import record
from serving.jobs.ledger import Ledger
from serving.jobs.source import uri_of


def forget_source(settings: Settings, collection: str, source: str) -> None:
    """Raises Conflict for a job that is at work on it."""
    for file in settings.jobs.glob("*/job.json"):
        folder, job = file.parent, record.read(file.parent)
        if (
            job.kind == "embed"
            and f"index://{collection}" in job.command
            and source in _sources(folder, job.command, settings)
        ):
            with lock.hold(folder / "lock", f"job {job.id}, which fills '{collection}',"):
                shutil.rmtree(folder)
        elif job.kind == "upgrade" and collection in job.command:
            with lock.hold(folder / "lock", f"job {job.id}, which moves '{collection}',"):
                for ledger in folder.glob("from-*.sqlite"):
                    with closing(Ledger(ledger)) as opened:
                        opened.forget_source(source)


def _sources(folder: Path, command: list[str], settings: Settings) -> set[str]:
    """What a job embeds, as its shards say and as its command does."""
    parts = folder.glob("part-*.parquet")
    told = {value for part in parts for value in parquet.read_table(part, columns=["source"])["source"].to_pylist()}
    try:
        told.add(uri_of(command[2], data=settings.data))
    except WrongUse:  # it is not there any more
        told.add(Path(command[2]).expanduser().resolve().as_uri())
    return told
