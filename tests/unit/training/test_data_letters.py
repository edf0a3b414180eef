"""Laws of the letters: which recordings count, where they begin, and that a language has one split."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import soundfile

from training.data.builders import letters


def test_a_recording_begins_with_the_voice_and_is_no_longer_than_a_letter():
    values = np.concatenate([np.full(8_000, 0.001), np.full(32_000, 0.5)]).astype(np.float32)
    found = letters.spoken(values, 16_000)
    assert len(found) == letters.SECONDS * letters.RATE
    assert np.argmax(found > 0.25) == letters.BEFORE_SECONDS * letters.RATE


def test_letters_a_to_z_that_are_there_are_taken_by_language(tmp_path: Path):
    folder, target = tmp_path / letters.ROOT, tmp_path / "built"
    target.mkdir()
    for number in range(10):
        language = folder / f"l{number}"
        (language / "alpha").mkdir(parents=True)
        for name in ("a", "b", "umlaut"):
            soundfile.write(language / f"alpha/{name}.ogg", np.ones(4_000) * 0.5, 16_000)
        listed = [("A", "a"), ("B", "b"), ("Ä", "umlaut"), ("C", "missing")]
        sounds = "".join(f'<sound name="{name}" file="l{number}/alpha/{file}.ogg"/>' for name, file in listed)
        text = f'<klettres><language code="x"><alphabet>{sounds}</alphabet></language></klettres>'
        (language / "sounds.xml").write_text(text)
    letters.build({"klettres-data": tmp_path}, target)
    rows = parquet.read_table(target / "manifest.parquet").to_pylist()
    assert len(rows) == 20
    assert {row["label"] for row in rows} == {"A", "B"}
    split_of = {row["group"]: row["split"] for row in rows}
    assert all(split_of[row["group"]] == row["split"] for row in rows)
    assert set(split_of.values()) == {"train", "val", "test"}
    assert soundfile.info(target / rows[0]["path"]).samplerate == letters.RATE
