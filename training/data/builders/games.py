"""games: clips of nine frames from Atari's Pong and Breakout, with what the games' memory says of their middle.

Played here by the emulator in the package, whose random numbers are seeded: episode k is the same on every machine.
Every second episode is played at random, the others mostly follow the ball, as memory tells; an action is repeated with
probability 0.25 and held for four frames, of which the brighter of the last two is kept, grey, 84 x 84 pixels. Clips of
an episode share no frame, and an episode lies in one split; a clip that was seen before is left out.

    items/<game>/<episode>_<start>.frames.zip

`ram_…` are bytes of memory at the last frame of the middle three (places after Anand et al. 2019, arXiv:1906.08226);
`motion_…` are signs of their change since the frame before, where the ball is in play.
"""
# T frames of an episode

import hashlib
import io
import sys
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from multiprocessing import get_context
from pathlib import Path
from platform import machine
from typing import Any

import numpy as np
from PIL import Image

from enfold.errors import Unavailable
from training.data.builders import Facts, Package, write

SIDE, FRAMES, NOW = 84, 9, 5  # pixels; frames of a clip; the last one of its middle three
CLIPS, OF_EPISODE = 3_000, 60  # of a game; of one of its episodes, at most
LONGEST = 720  # frames of an episode: one that goes on is left there
HELD, STICKY = 4, 0.25  # frames that an action is held; probability that the one before goes on instead
STRAYING = 0.3  # share of random actions of a player who follows the ball

# A wheel for each Python, since it is run here and not only read.
_WHEELS = {
    (3, 11): (3_111_397, "ba7429074ba6ffc1555f9a41bf00bee5d427b5080253101a8fe00412ca481033"),
    (3, 12): (3_110_030, "e67231fe655c453cb8223d51b5343ef46c58b8d49a27d6feef07326137323740"),
    (3, 13): (3_109_999, "a8c0c61bd17b7853fb296909928abbcece795a3bfa45d979b044ce9a0ab452b6"),
}
_PYTHON = min(sys.version_info[:2], max(_WHEELS))
_SIZE, _SHA256 = _WHEELS[_PYTHON]
_TAG = "cp{}{}".format(*_PYTHON)

FACTS = Facts(
    name="games",
    modality="video",
    title="Games: clips of Atari's Pong and Breakout, played by an emulator, with bytes of their memory",
    licence="emulator (ale-py): GPL-2.0; the games' own licence is not stated there",
    packages=(
        Package(
            registry="pypi",
            name="ale-py",
            version="0.12.1",
            file=f"ale_py-0.12.1-{_TAG}-{_TAG}-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
            size_bytes=_SIZE,
            sha256=_SHA256,
            wanted=("ale_py",),
        ),
    ),
)


@dataclass(frozen=True)
class Game:
    """Where things stand in memory, and how a player follows the ball."""

    name: str
    ram: Mapping[str, int]
    chased: str  # the ball's byte and the player's that a follower brings together
    chaser: str
    towards: tuple[str, str]  # actions that lower and raise the player's byte


GAMES = (
    Game(
        "breakout",
        {"ball_x": 99, "ball_y": 101, "player_x": 72, "blocks_hit": 77, "score": 84},
        "ball_x",
        "player_x",
        ("LEFT", "RIGHT"),
    ),
    Game(
        "pong",
        {"ball_x": 49, "ball_y": 54, "player_y": 51, "enemy_y": 50, "player_score": 14, "enemy_score": 13},
        "ball_y",
        "player_y",
        ("RIGHT", "LEFT"),
    ),
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write the clips and the manifest into `target`: each game is played in a process of its own."""
    if (system := (sys.platform, machine())) != ("linux", "x86_64"):
        raise Unavailable(
            f"the data set 'games' is played by an emulator for Linux on x86-64, and this is {' on '.join(system)}: "
            "build it on such a machine and copy its folder"
        )
    with ProcessPoolExecutor(len(GAMES), mp_context=get_context("spawn")) as pool:
        played = list(pool.map(partial(play, packages["ale-py"], target), GAMES))
    columns = dict.fromkeys(name for rows in played for row in rows for name in row)
    write(FACTS, [dict.fromkeys(columns) | row for rows in played for row in rows], target)


def play(emulator: Path, target: Path, game: Game) -> list[dict[str, Any]]:
    """Manifest rows of a game's clips, which are written below `target`.

    emulator   folder of the unpacked package, which this process imports from there
    """
    sys.path.insert(0, str(emulator))
    (target / "items" / game.name).mkdir(parents=True)
    return list(islice(_clips(game, target), CLIPS))


def _clips(game: Game, target: Path) -> Iterator[dict[str, Any]]:
    seen = set()
    for number in count():
        frames, memory = episode(game, number)  # uint8 [T, S, S], [T, 128]
        for start in starts(len(frames)):
            clip = frames[start : start + FRAMES]
            digest = hashlib.sha256(clip.tobytes()).hexdigest()
            if digest in seen:
                continue
            seen.add(digest)
            name = f"{number:03}_{start:05}"
            path = f"items/{game.name}/{name}.frames.zip"
            (target / path).write_bytes(packed(clip))
            yield {
                "id": f"{game.name}/{name}",
                "path": path,
                "label": game.name,
                "group": f"{game.name}_{number:03}",
                "sha256": digest,  # of what is seen, whatever packs it
                **told(game, memory[start + NOW - 1], memory[start + NOW]),
            }


def episode(game: Game, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 [T, S, S] and memory uint8 [T, 128] from the first action on."""
    from ale_py import Action, ALEInterface, LoggerMode, roms  # type: ignore[import-not-found]

    ALEInterface.setLoggerMode(LoggerMode.Error)
    rng, emulator = np.random.default_rng(number), ALEInterface()
    emulator.setInt("random_seed", number)
    emulator.setFloat("repeat_action_probability", STICKY)
    emulator.loadROM(roms.get_rom_path(game.name))
    actions, follows = emulator.getMinimalActionSet(), bool(number % 2)
    frames: list[np.ndarray] = []
    memory: list[np.ndarray] = []
    while len(frames) < LONGEST and not emulator.game_over():
        action = actions[rng.integers(len(actions))]
        if follows and rng.random() >= STRAYING:
            action = getattr(Action, _following(game, emulator.getRAM()))
        for _ in range(HELD - 1):
            emulator.act(action)
        before = emulator.getScreenGrayscale()
        emulator.act(action)
        image = Image.fromarray(np.maximum(before, emulator.getScreenGrayscale()))  # what flickers is in one of them
        frames.append(np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX)))
        memory.append(emulator.getRAM())
    return np.stack(frames), np.stack(memory)


def _following(game: Game, memory: np.ndarray) -> str:
    if not memory[game.ram["ball_y"]]:
        return "FIRE"  # no ball in play
    lower, higher = game.towards
    middle = int(memory[game.ram[game.chaser]]) + 4  # of the paddle
    return lower if memory[game.ram[game.chased]] < middle else higher


def starts(length: int) -> list[int]:
    """Of an episode's clips: evenly apart, none into another or past the end."""
    clips = min(OF_EPISODE, length // FRAMES)
    return [at * (length // clips) for at in range(clips)] if clips else []


def told(game: Game, before: np.ndarray, now: np.ndarray) -> dict[str, int]:
    """What memory says at a frame and at the one before, as columns."""
    found = {f"ram_{name}": int(now[place]) for name, place in game.ram.items()}
    if not (before[game.ram["ball_y"]] and now[game.ram["ball_y"]]):
        return found
    moves = {name: int(now[game.ram[name]]) - int(before[game.ram[name]]) for name in ("ball_x", "ball_y")}
    return found | {f"motion_{name}": int(np.sign(change)) for name, change in moves.items()}


def packed(clip: np.ndarray) -> bytes:
    """Frames uint8 [T, S, S] as a .zip of PNGs: an animation would lose those that are like the one before."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number, frame in enumerate(clip):
            picture = io.BytesIO()
            Image.fromarray(frame).save(picture, "PNG")
            archive.writestr(zipfile.ZipInfo(f"{number}.png"), picture.getvalue())
    return file.getvalue()
