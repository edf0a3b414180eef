"""Items inside larger files: found where they lie, with what stands beside them, and never all in memory at once."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from enfold import archives
from enfold.errors import WrongUse
from tests.examples import npy, tar

PICTURES = (".png", ".jpg")


def test_samples_come_with_label_caption_and_split(tmp_path):
    told = json.dumps({"label": 7, "caption": "a dog", "width": 10}).encode()
    tar(tmp_path / "train-000.tar", {"a/1.png": b"one", "a/1.cls": b"cat\n", "a/1.txt": b"a cat", "a/2.jpg": b"two!"})
    tar(tmp_path / "validation-000.tar", {"3.json": told, "3.png": b"three", "README": b"no sample", "4.txt": b"alone"})
    found = list(archives.of_shards(archives.shards(tmp_path), PICTURES))
    assert [entry.key for entry in found] == ["train-000.tar/a/1", "train-000.tar/a/2", "validation-000.tar/3"]
    assert [entry.place.read_bytes() for entry in found] == [b"one", b"two!", b"three"]
    assert [entry.fields for entry in found] == [
        {"split": "train", "label": "cat", "caption": "a cat"},
        {"split": "train"},
        {"split": "val", "label": "7", "caption": "a dog"},
    ]
    texts = list(archives.of_shards(archives.shards(tmp_path / "validation-000.tar"), (".txt",)))
    assert [(entry.key, entry.place.read_bytes()) for entry in texts] == [("validation-000.tar/4", b"alone")]


@pytest.mark.parametrize("mode", ["w:gz", "nonsense"])
def test_what_is_no_plain_tar_is_said(tmp_path, mode):
    file = tmp_path / "x.tar"
    tar(file, {"a.png": b"x"}, mode) if mode == "w:gz" else file.write_bytes(b"nothing of the kind" * 99)
    with pytest.raises(WrongUse, match=r"x\.tar is no uncompressed \.tar"):
        list(archives.of_shards([file], PICTURES))


def test_a_shard_cut_short_is_refused_and_noticed_when_it_happens_later(tmp_path):
    file = tar(tmp_path / "a.tar", {"1.png": b"x" * 1000, "2.png": b"y" * 3000})
    first, second = archives.of_shards([file], PICTURES)
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(WrongUse, match="or is damaged: unexpected end of data"):
        list(archives.of_shards([file], PICTURES))
    assert first.place.read_bytes() == b"x" * 1000
    with pytest.raises(OSError, match=r"ends within '2\.png'"):
        second.place.read_bytes()


@pytest.mark.parametrize("hugging_face", [False, True])
def test_cells_of_parquet_are_read_by_row_group(tmp_path, hugging_face):
    content = [b"one", b"two", None, b"four"]
    values = [value and {"bytes": value, "path": "x.png"} for value in content] if hugging_face else content
    table = pa.table({"label": [1, 2, 3, 4], "image": values})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    assert archives.files_columns(table.schema) == ["image"]
    cells = list(archives.of_parquet(tmp_path / "a.parquet", "image"))
    assert [cell.group for cell in cells] == [0, 0, 1, 1]
    assert [cells[i].read_bytes() for i in (3, 0, 1)] == [b"four", b"one", b"two"]
    assert cells[0].size == 3
    with pytest.raises(OSError, match="column 'image' is empty"):
        cells[2].read_bytes()


@pytest.mark.parametrize(
    ("name", "split"),
    [("train-00.tar", "train"), ("TEST_1.tar", "test"), ("valid.tar", "val"), ("validation-3.tar", "val")]
    + [(name, None) for name in ("trains.tar", "shard-0.tar", "values.tar")],
)
def test_the_split_is_in_the_name_of_the_shard(name, split):
    assert archives.split_of(Path(name)) == split


LIMITED = """
import resource, sys
from pathlib import Path
from enfold import modalities
from serving.jobs.source import open_source
source = open_source(sys.argv[1], modality="volume", data=Path("none"))
next(iter(source.items())).raw.read_bytes()  # with all that is imported on the way
now = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (now + int(sys.argv[2]), -1))
volume = modalities.get("volume")(None)
print(sum(volume.read(item.raw).values.nbytes for item in source.items()))
"""


@pytest.mark.parametrize("kind", ["shards", "parquet"])
def test_a_source_larger_than_the_memory_is_read_lazily(tmp_path, kind):
    """120 MB of scans, in a process that may take 80 more than it has."""
    scan = npy(np.ones((5, 1000, 250), np.float32))  # 5 MB
    if kind == "shards":
        for shard in range(4):
            tar(tmp_path / f"{shard}.tar", {f"{i}.npy": scan for i in range(6)})
        source = tmp_path
    else:
        source = tmp_path / "scans.parquet"
        with parquet.ParquetWriter(source, pa.schema({"scan": pa.binary()}), compression="none") as writer:
            for _ in range(24):
                writer.write_table(pa.table({"scan": [scan]}))
    command = [sys.executable, "-c", LIMITED, str(source), str(80 * 2**20)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 24 * 5_000_000
