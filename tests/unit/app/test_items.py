"""Every kind of item as the explorer draws it, from real files, and what it says of damaged ones."""

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from app import items
from enfold import modalities
from enfold.modalities.radiance import Grid
from tests import examples

FILES = [
    pytest.param(modality, file, content, id=f"{modality}-{file}")
    for modality in modalities.names()
    for file, content in examples.examples(modality).files.items()
]
BAD = [
    pytest.param(modality, content, id=f"{modality}-{what}")
    for modality in modalities.names()
    for what, content in examples.examples(modality).bad.items()
]


def drawn(modality: str, content: bytes, name: str = "") -> AppTest:
    def page(modality, content, name):
        from app import items

        items.draw(modality, content, name)

    shown = AppTest.from_function(page, args=(modality, content, name), default_timeout=30).run()
    assert not shown.exception
    return shown


@pytest.mark.parametrize(("modality", "suffix", "content"), FILES)
def test_an_item_of_every_format_is_drawn(modality, suffix, content):
    page = drawn(modality, content, f"one{suffix}")
    assert not page.caption  # nothing had to be explained
    assert len(list(page.main)) > 0


@pytest.mark.parametrize(("modality", "content"), BAD)
def test_a_bad_item_is_drawn_as_far_as_it_can_be_or_told_in_a_sentence(modality, content):
    page = drawn(modality, content)
    assert len(list(page.main)) > 0


def test_a_field_is_its_opaque_voxels_where_they_lie(monkeypatch):
    seen = []
    monkeypatch.setattr(items, "_turned", lambda places, marker: seen.append((places, marker)))
    density = np.zeros((2, 2, 2), np.float32)
    density[1, 0, 1] = 50
    rgb = np.zeros((2, 2, 2, 3), np.float32)
    rgb[1, 0, 1] = (1, 0, 0)
    items.field(Grid(density, rgb, np.array([[0, 0, 0], [4, 2, 2.0]])))
    [(places, marker)] = seen
    np.testing.assert_allclose(places, [[3, 0.5, 1.5]])
    assert marker["color"] == ["rgb(255,0,0)"]
