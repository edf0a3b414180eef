"""The commands that README and how-tos show, typed into a shell in their order.

Three things differ from what a reader does: `enfold run` gets --smoke, so that it takes seconds (and the bundle's usual
name, which --smoke alone would change), a server that the page starts in the background is waited for, and has another
port than pages write.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import nibabel
import numpy as np
import pytest
import soundfile
from PIL import Image, ImageDraw

from enfold import ports
from tests import bundles, servers

ROOT = Path(__file__).parents[2]
_SECONDS = 300


def blocks(page: str, language: str) -> list[str]:
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return found


def commands(page: str) -> list[str]:
    """Lines of every sh block that call enfold or curl."""
    return [
        line for block in blocks(page, "sh") for line in block.splitlines() if line.startswith(("enfold ", "curl "))
    ]


class Reader:
    """Someone at a terminal, in a folder of their own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.port, self.explorer, self.grpc = ports.free(), ports.free(), ports.free()
        address = {"ENFOLD_PORT": str(self.port), "ENFOLD_URL": f"http://127.0.0.1:{self.port}"}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = servers.environment(folder / "home", **address) | {"PATH": path}
        self._left_running: list[subprocess.Popen[bytes]] = []

    def types(self, line: str) -> str:
        """Run one command to its end and return what it printed; one that stays is left running once it answers."""
        command = line.removesuffix("&").strip()
        stays = line.endswith("&") or command.startswith(("enfold app", "enfold serve"))
        if command == "enfold app":
            command += f" --port {self.explorer}"
        if command.startswith("enfold run "):
            command += " --smoke" if "export.bundle" in command else " --smoke --set stage.export.bundle=emoji"
        return self._leave_running(command) if stays else self._run(["sh", "-c", command])

    def runs(self, script: str) -> str:
        """Run a block of Python and return what it printed."""
        return self._run([sys.executable, "-c", script])

    def leaves(self) -> None:
        for process in reversed(self._left_running):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=30)

    def _run(self, words: list[str]) -> str:
        own = {"127.0.0.1:3000": f"127.0.0.1:{self.port}", "127.0.0.1:8001": f"127.0.0.1:{self.grpc}"}
        for address, mine in own.items():
            words = [word.replace(address, mine) for word in words]
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=_SECONDS
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _leave_running(self, command: str) -> str:
        process = subprocess.Popen(
            command,
            shell=True,
            cwd=self.folder,
            env=self.environment,
            start_new_session=True,
            stderr=subprocess.DEVNULL,
        )
        self._left_running.append(process)
        explorer = f"http://127.0.0.1:{self.explorer}/_stcore/health"
        ready = explorer if "app" in command else f"http://127.0.0.1:{self.port}/readyz"
        servers.until(lambda: servers.answers(ready), seconds=60)
        return ""


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    found = Reader(tmp_path)
    yield found
    found.leaves()


@pytest.fixture
def store(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> Iterator[fsspec.AbstractFileSystem]:
    """An object store with a bucket, which the reader's environment names."""
    with servers.object_store() as found:
        reader.environment |= found
        for name, value in found.items():
            monkeypatch.setenv(name, value)
        files = fsspec.filesystem("s3", skip_instance_cache=True)
        files.mkdir("bucket")
        yield files


def photos(folder: Path) -> None:
    """Sixty drawings of two kinds, and one called cat.jpg."""
    rng = np.random.default_rng(0)
    for number in range(60):
        label = ("circles", "squares")[number % 2]
        (folder / label).mkdir(parents=True, exist_ok=True)
        drawn = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).resize((72, 72))
        shape = ImageDraw.Draw(drawn).ellipse if number % 2 == 0 else ImageDraw.Draw(drawn).rectangle
        shape(
            [int(v) for v in (*rng.integers(5, 25, 2), *rng.integers(40, 70, 2))],
            fill=tuple(map(int, rng.integers(0, 256, 3))),
        )
        drawn.save(folder / label / f"{number:02}.jpg")
    shutil.copy(folder / "circles/00.jpg", folder / "cat.jpg")


def test_embed_my_folder_of_photos(reader: Reader, store: fsspec.AbstractFileSystem):
    photos(reader.folder / "photos")
    store.put(str(reader.folder / "photos"), "bucket/photos", recursive=True)
    printed = {line: reader.types(line) for line in commands("docs/how_to/embed_photos.md")}
    assert [name.rpartition("/")[2] for name in store.ls("bucket/vectors")] == ["part-00001.parquet"]
    found = next(text for line, text in printed.items() if line.startswith("enfold search"))
    assert "circles/00.jpg" in found or "cat.jpg" in found


def sounds(folder: Path) -> None:
    """Sixty notes and hisses of a second, and one called bell.wav."""
    rng, time = np.random.default_rng(0), np.arange(8000) / 8000
    for number in range(60):
        label = ("notes", "hisses")[number % 2]
        note = np.sin(2 * np.pi * rng.uniform(150, 1500) * time) * np.exp(-rng.uniform(0, 5) * time)
        hiss = rng.normal(size=8000) * np.exp(-rng.uniform(0, 5) * time)
        (folder / label).mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / label / f"{number:02}.wav", 0.3 * (note, 0.3 * hiss)[number % 2], 8000)
    shutil.copy(folder / "notes/00.wav", folder / "bell.wav")


def test_sounds_videos_scans_rasters_and_shapes(reader: Reader):
    sounds(reader.folder / "sounds")
    printed = {line: reader.types(line) for line in commands("docs/how_to/other_kinds.md")}
    found = next(text for line, text in printed.items() if line.startswith("enfold search"))
    assert "notes/00.wav" in found or "bell.wav" in found
    assert "copies" in printed["enfold index health sounds"]


def test_the_readme_by_hand(reader: Reader):
    lines = commands("README.md")
    fetch, run, serve, *others = lines
    for line in (fetch, run, serve):
        reader.types(line)
    picture = next((reader.folder / "home/data/emoji/items").rglob("*.png"))
    shutil.copy(picture, reader.folder / "picture.png")
    printed = [reader.types(line) for line in others]
    assert "1.000" in printed[1] or "1 " in printed[1]


def documents(folder: Path) -> None:
    """What a help desk might write."""
    folder.mkdir()
    for name, text in {
        "password": "Forgotten your password? Open the sign-in page and press Reset; a link comes by mail.",
        "printer": "The printer on the second floor takes A4 and A3. Ask at the desk for photo paper.",
        "canteen": "Lunch is served from half past eleven; there is always a vegetarian dish.",
        "holidays": "Enter your holidays in the calendar three weeks ahead, so that others can plan.",
    }.items():
        (folder / f"{name}.txt").write_text(text)


def test_serve_a_model_i_already_have(reader: Reader):
    documents(reader.folder / "documents")
    printed = {line: reader.types(line) for line in commands("docs/how_to/serve_a_model.md")}
    by_vector = next(text for line, text in printed.items() if line.startswith("enfold search"))
    by_tokens = next(text for line, text in printed.items() if "--late-interaction" in line)
    for found in (by_vector, by_tokens):
        others = [found.index(f"{other}.txt") for other in ("printer", "canteen", "holidays")]
        assert found.index("password.txt") < min(others)


def test_manage_bundles(reader: Reader):
    photos(reader.folder / "photos")
    for seed in range(3):
        bundles.image_bundle(reader.folder / "home/bundles", "emoji", seed=seed)
    printed = {line: reader.types(line) for line in commands("docs/how_to/manage_bundles.md")}
    assert "overlap" in printed["enfold bundle diff emoji@2 emoji@3 --data photos"]
    assert "enfold bundle gc --dry-run" in printed


def test_explore_a_collection(reader: Reader):
    photos(reader.folder / "photos")
    bundles.image_bundle(reader.folder / "home/bundles", "photos")
    printed = {line: reader.types(line) for line in commands("docs/how_to/explore_a_collection.md")}
    assert "copies" in printed["enfold index health photos"]


def test_move_a_collection(reader: Reader):
    photos(reader.folder / "photos")
    for seed in range(2):
        bundles.image_bundle(reader.folder / "home/bundles", "photos", seed=seed)
    serve, *others = commands("docs/how_to/move_a_collection.md")
    reader.types(serve)
    reader.types("enfold embed photos --model photos@1 --to index://photos")
    printed = {line: reader.types(line) for line in others}
    assert "photos@2" in printed["enfold index info photos"]
    assert "photos@1" in printed["enfold index upgrade photos --back"]


def test_use_other_clients(reader: Reader):
    page = "docs/how_to/use_other_clients.md"
    bundles.text_bundle(reader.folder / "home/bundles", "minilm")
    reader.environment["ENFOLD_GRPC_PORT"] = str(reader.grpc)
    serve, *asked = commands(page)
    reader.types(serve)
    openai, oip = (json.loads(reader.types(line)) for line in asked)
    assert [len(row["embedding"]) for row in openai["data"]] == [8, 8]
    np.testing.assert_allclose(oip["outputs"][0]["data"], openai["data"][0]["embedding"], atol=1e-6)
    printed = [reader.runs(script).strip() for script in blocks(page, "python")]
    assert printed == ["minilm@1 8", "8", "8", "(2, 8)", "(2, 8)"]


def test_segment_and_generate(reader: Reader):
    page, home = "docs/how_to/segment_and_generate.md", reader.folder / "home/bundles"
    bundles.volume_bundle(home, "brain")
    bundles.speaker_bundle(home, "define", sizes=("2", "4"))
    scan = np.random.default_rng(0).normal(size=(20, 24, 18)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(scan, np.diag([3.0, 2.0, 2.0, 1.0])), reader.folder / "scan.nii.gz")
    serve, segment, generate = commands(page)
    reader.types(serve)
    reader.types(segment)
    [told] = json.loads((reader.folder / "answer.json").read_bytes())["answers"]
    script, streaming = blocks(page, "python")
    printed = reader.runs(script)
    assert [f"{amount['millilitres']:8.1f} ml of {amount['label']}" in printed for amount in told["amounts"]] == [
        True
    ] * 2
    labels = nibabel.load(reader.folder / "labels.nii.gz")
    assert labels.shape == scan.shape
    np.testing.assert_array_equal(labels.affine, np.diag([3.0, 2.0, 2.0, 1.0]))
    events = [line for line in reader.types(generate).splitlines() if line.startswith("data: ")]
    *pieces, last = (json.loads(event.removeprefix("data: ")) for event in events)
    [whole] = last["answers"]
    assert set(whole["sizes"]) == {"4"}
    assert "".join(piece["text"] for piece in pieces) == whole["text"]
    *lines, sizes = reader.runs(streaming).splitlines()
    assert lines == [*(piece["text"] for piece in pieces), whole["text"]]
    assert "2" in sizes
