"""The pages, run by Streamlit's own test driver against a real server."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app import server as pages_server
from enfold import ports
from tests.servers import Running

APP = Path(__file__).parents[3] / "app"
MAIN, MAP = APP / "main.py", APP / "screens/map.py"


def opened(page: Path, **query: str) -> AppTest:
    test = AppTest.from_file(page, default_timeout=30)
    for name, value in query.items():
        test.query_params[name] = value
    return test.run()


def an_id(server: Running) -> str:
    with server.client() as client:
        found: str = client.layout("shapes")["id"][0].as_py()
    return found


def test_search_starts_with_what_to_do(explored: Running):
    page = opened(MAIN)
    assert not page.exception
    assert page.title[0].value == "Search"
    assert "Drop an item" in page.info[0].value


def test_a_link_to_a_point_restores_its_search(explored: Running):
    page = opened(MAIN, collection="shapes", id=an_id(explored))
    assert not page.exception
    told = [caption.value for caption in page.caption]
    assert any("18 of 40 points of tiny@1" in caption for caption in told)
    assert len(page.text) == 18  # one line of facts on each card


def test_a_label_filter_leaves_only_that_label(explored: Running):
    page = opened(MAIN, collection="shapes", id=an_id(explored))
    page.multiselect[0].set_value(["round"]).run()
    assert not page.exception
    assert {text.value.split(" · ")[0] for text in page.text} == {"round"}


def test_a_point_that_is_gone_is_told_in_a_sentence(explored: Running):
    page = opened(MAIN, collection="shapes", id="00000000-0000-0000-0000-000000000000")
    assert not page.exception
    assert "has no point 00000000" in page.error[0].value


def test_the_map_counts_its_points_and_colours_them_by_label(explored: Running):
    page = opened(MAP, collection="shapes")
    assert not page.exception
    assert page.selectbox[1].value == "label"
    assert "40 points, coloured by label" in [caption.value for caption in page.caption]


def test_without_a_server_the_page_says_how_to_start_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ENFOLD_URL", f"http://127.0.0.1:{ports.free()}")
    pages_server.client.clear()
    pages_server.collections.clear()
    page = opened(MAIN)
    assert not page.exception
    assert "start one with 'enfold serve'" in page.error[0].value
