"""Game clips: none crosses an episode's end, none is there twice, and columns say what memory says of the middle."""

import hashlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from enfold import settings
from enfold.modalities.video import Video, VideoPreprocess
from training.data import builders
from training.data.builders import games
from training.data.sources import open_dataset

FETCHED = settings.load().data  # read before each test gets a home of its own
PONG = next(game for game in games.GAMES if game.name == "pong")
LENGTHS = (30, 5, 40, 30)


def episode(game: games.Game, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Frame t of episode k has shade 40 k + t, and so has every byte of its memory; the fourth is the first again."""
    values = np.arange(LENGTHS[number], dtype=np.uint8) + 40 * (number % 3)
    return np.tile(values[:, None, None], (1, 8, 8)), np.tile(values[:, None], (1, 128))


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    monkeypatch.setattr(games, "episode", episode)
    monkeypatch.setattr(games, "CLIPS", 7)
    return games.play(tmp_path, tmp_path, PONG)


def test_clips_lie_in_one_episode_apart_from_each_other(rows, tmp_path):
    seen = []
    for row in rows:
        read = Video(None).read(tmp_path / row["path"])
        shades = [int(frame.mean()) for frame in read.pick(range(read.count))]
        assert shades == list(range(shades[0], shades[0] + games.FRAMES))
        assert shades[0] // 40 == shades[-1] // 40 == int(row["group"].removeprefix("pong_"))
        seen += shades
    assert len(seen) == len(set(seen)) == 7 * games.FRAMES


def test_columns_are_of_the_last_frame_that_the_encoder_sees(rows, tmp_path):
    modality = Video(VideoPreprocess(size=8, frames=3))
    for row in rows:
        [sample] = modality.prepare(modality.read(tmp_path / row["path"]))
        assert round(float(sample.arrays["video"][-1].mean()) * 255) == row["ram_ball_x"] == row["ram_player_y"]
        assert row["motion_ball_x"] == row["motion_ball_y"] == 1


def test_digests_are_of_pixels_whatever_packs_them(rows, tmp_path):
    read = Video(None).read(tmp_path / rows[0]["path"])
    grey = np.stack([frame[..., 0] for frame in read.pick(range(9))])
    assert rows[0]["sha256"] == hashlib.sha256(grey.tobytes()).hexdigest()


def test_a_clip_that_was_seen_before_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(games, "episode", episode)
    (tmp_path / "items/pong").mkdir(parents=True)
    found = games._clips(PONG, tmp_path)
    names = {next(found)["group"] for _ in range(7)}
    assert names == {"pong_000", "pong_002"}  # the one between is too short for a clip
    with pytest.raises(IndexError):  # every clip of the fourth is passed over, and there is no fifth
        next(found)


def test_nothing_is_said_of_a_ball_that_is_not_in_play():
    before, now = np.full(128, 9, np.uint8), np.full(128, 5, np.uint8)
    assert games.told(PONG, before, now)["motion_ball_y"] == -1
    now[PONG.ram["ball_y"]] = 0
    assert not any(name.startswith("motion_") for name in games.told(PONG, before, now))


@pytest.mark.parametrize("length", [0, 8, 9, 100, 540, 2000])
def test_an_episode_gives_sixty_clips_at_most_from_its_whole_length(length):
    found = games.starts(length)
    assert len(found) == min(60, length // 9)
    assert all(b - a >= games.FRAMES for a, b in pairwise(found))
    assert not found or length - found[-1] >= games.FRAMES


def test_a_frame_like_the_one_before_is_kept():
    still = np.full((9, 8, 8), 77, np.uint8)
    assert Video(None).read(games.packed(still)).count == 9


@pytest.fixture
def data():
    if not builders.is_current(games.FACTS, FETCHED / "games"):
        pytest.skip("games is not fetched: enfold data fetch games")
    return open_dataset("games", data=FETCHED)


def test_an_episode_lies_in_one_split(data):
    assert (len(data), data.classes) == (6000, ("breakout", "pong"))
    groups = [{record.group for record in data.split(split).records} for split in ("train", "val", "test")]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]


def test_the_ball_is_seen_where_memory_says_at_the_last_frame_that_the_encoder_sees(data):
    """Pong's memory counts the screen's 160 columns from 49; away from paddles the ball alone is no background."""
    modality, misses = Video(VideoPreprocess(size=84, frames=3)), []
    for record in [r for r in data.records if r.label == "pong" and 90 < r.payload["ram_ball_x"] < 170][::40]:
        frame = modality.prepare(record.read(modality))[0].arrays["video"][-1, 0]
        field = np.abs(frame - np.median(frame))[15:76, 16:68]  # without score, borders and paddles
        misses.append(abs(field.max(0).argmax() + 16 - (record.payload["ram_ball_x"] - 49) * 84 / 160))
    assert len(misses) > 20
    assert np.median(misses) <= 1
    assert np.mean(np.array(misses) <= 2) > 0.9
