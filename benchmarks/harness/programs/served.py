"""Puts points into a server over HTTP, noting which it has taken: `served.py HOME`.

Started again after a kill, it first asks for those that were taken, and ends with an error if one of them is gone.
"""

import sys
from pathlib import Path

from benchmarks.harness.programs.upserts import DIMENSIONS, SPACE, batch
from enfold import wire
from enfold.errors import EnfoldError
from serving.index import arrow
from tests import bundles, servers

TIMES = 40


def main(home: Path) -> None:
    if not (home / "bundles" / "tiny").exists():
        bundles.image_bundle(home / "bundles")
    server = servers.start(home, "tiny", own_session=False)  # it dies with the group of whoever kills this
    taken = home / "taken.txt"
    before = [int(line) for line in taken.read_text().splitlines()] if taken.exists() else []
    facts = {"model": "none@1", "entry": "none", "modality": "text", "space": SPACE, "dimensions": DIMENSIONS}
    with server.client() as client, taken.open("a") as log:
        servers.until(client.ready, 60)
        client.create_collection(wire.NewCollection(name="things", **facts))
        have = set(client.points("things")["id"].to_pylist())
        if gone := {id for number in before for id in batch(number).ids} - have:
            raise EnfoldError(f"{len(gone)} points that the server had taken are gone")
        print("ready", flush=True)
        for number in range(TIMES):
            client.upsert("things", arrow.to_table(batch(number), "none@1"))
            print(number, file=log, flush=True)
    servers.stop(server)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
