"""The pages, run by Streamlit's own test driver against a real server."""

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app import cards
from app import server as pages_server
from app.plain import plain
from enfold import ports, wire
from tests import trained
from tests.servers import Running, until

APP = Path(__file__).parents[3] / "app"
MAIN, MAP, HEALTH = APP / "main.py", APP / "screens/map.py", APP / "screens/health.py"


def opened(page: Path, **query: str) -> AppTest:
    test = AppTest.from_file(page, default_timeout=30)
    for name, value in query.items():
        test.query_params[name] = value
    return test.run()


def searching(**query: str) -> AppTest:
    return opened(MAIN, **query).switch_page("screens/search.py").run()


def an_id(server: Running) -> str:
    with server.client() as client:
        found: str = client.layout("shapes")["id"][0].as_py()
    return found


def test_home_tells_what_there_is_and_searches_all_that_fits(explored: Running):
    page = opened(MAIN)
    assert not page.exception
    assert {one.label: one.value for one in page.metric} == {
        "Models": "5", "Spaces": "5", "Collections": "4", "Vectors": "128",
    }  # fmt: skip
    assert "clouds@1" in page.dataframe[0].value["model"].tolist()
    page.get("file_uploader")[0].set_value([("scan.nrrd", b"NRRD0004", "application/octet-stream")]).run()
    assert not page.exception
    assert "No collection here is searched by volume" in page.info[0].value


def test_home_of_an_item_shows_the_best_of_each_collection(explored: Running):
    page = opened(MAIN)
    file = next((explored.home / "shapes/round").glob("*.png"))
    page.get("file_uploader")[0].set_value([(file.name, file.read_bytes(), "image/png")]).run()
    assert not page.exception
    assert {one.value for one in page.subheader} == {"shapes", "shapes-by-other", "shapes-by-colour"}
    assert "round · 1.000" in [text.value for text in page.text]


def test_home_finds_pictures_by_words_where_both_are_of_one_space(explored: Running):
    page = opened(MAIN)
    page.text_input[0].set_value("a red cat").run()
    assert not page.exception
    assert [one.value for one in page.subheader] == ["shapes-by-colour"]
    assert len(page.text) == 6


def test_a_collection_is_searched_by_items_of_every_kind_in_its_space(explored: Running):
    page = searching(collection="shapes-by-colour", by="text")
    assert not page.exception
    assert page.sidebar.selectbox[1].options == ["image", "text"]
    page.text_area[0].set_value("a red cat").run()
    assert not page.exception
    with explored.client() as client:
        found = client.search("shapes-by-colour", item="a red cat", modality="text", limit=18).hits
    shown = [text.value for text in page.text]
    assert shown == [f"{hit.payload['label']} · {hit.score:.3f}" for hit in found]


def test_two_collections_of_the_same_items_are_compared(explored: Running):
    page = opened(MAIN, a="shapes", b="shapes-by-other").switch_page("screens/compare.py").run()
    assert not page.exception
    items, same, label = page.metric
    assert (items.label, items.value) == ("Items in both", "40")
    assert 0 < float(same.value.rstrip("%")) < 100
    assert "against shapes" in label.delta
    assert page.dataframe[0].value["items"].sum() == 40
    assert len(page.text) == 12  # an item and its five nearest, twice


def test_collections_without_a_common_item_are_not_compared(explored: Running):
    page = opened(MAIN, a="shapes", b="clouds").switch_page("screens/compare.py").run()
    assert not page.exception
    assert "have 0 items in common" in page.info[0].value


def test_search_starts_with_what_to_do(explored: Running):
    page = searching()
    assert not page.exception
    assert page.title[0].value == "Search"
    assert "Drop an item" in page.info[0].value


def test_a_link_to_a_point_restores_its_search(explored: Running):
    page = searching(collection="shapes", id=an_id(explored))
    assert not page.exception
    told = [caption.value for caption in page.caption]
    assert any("18 of 40 points of tiny@1" in caption for caption in told)
    assert len(page.text) == 18  # one line of facts on each card


def test_a_card_opens_the_item_as_its_source_has_it(explored: Running):
    page = opened(MAIN, collection="shapes", id=(id := an_id(explored))).switch_page("screens/item.py").run()
    assert not page.exception
    assert not page.error
    with explored.client() as client:
        item = client.point("shapes", id).payload["item"]
    assert page.title[0].value == item
    assert item in page.dataframe[0].value["value"].tolist()
    assert not any("not kept here" in caption.value for caption in page.caption)
    assert len(page.text) == 6  # the nearest


def test_a_label_filter_leaves_only_that_label(explored: Running):
    page = searching(collection="shapes", id=an_id(explored))
    page.multiselect[0].set_value(["label"]).run()
    page.multiselect[1].set_value(["round"]).run()
    assert not page.exception
    assert {text.value.split(" · ")[0] for text in page.text} == {"round"}
    again = searching(collection="shapes", id=an_id(explored), filter="".join(page.query_params["filter"]))
    assert {text.value.split(" · ")[0] for text in again.text} == {"round"}


@pytest.mark.parametrize("nonsense", ["{", "[1]", '[{"field": "label"}]', '[{"field": "label", "any": ["none such"]}]'])
def test_a_link_with_a_filter_that_makes_no_sense_is_without_it(explored: Running, nonsense):
    page = searching(collection="shapes", id=an_id(explored), filter=nonsense)
    assert not page.exception
    assert not page.error
    assert len(page.text) == 18


def test_a_search_is_steered_by_examples_and_counterexamples(explored: Running):
    with explored.client() as client:
        ids = client.layout("shapes")["id"].to_pylist()
        asked = {"like": [{"id": ids[1]}], "unlike": [{"id": ids[2]}, {"id": ids[3]}]}
        expected = client.search("shapes", id=ids[0], limit=18, **asked).hits
    page = searching(collection="shapes", id=ids[0], like=ids[1], unlike=f"{ids[2]},{ids[3]}")
    assert not page.exception
    assert "Steered by 1 more like and 2 less like" in [caption.value for caption in page.caption]
    assert [text.value.split(" · ")[1] for text in page.text] == [f"{hit.score:.3f}" for hit in expected]


def test_a_point_that_is_gone_is_told_in_a_sentence(explored: Running):
    page = searching(collection="shapes", id="00000000-0000-0000-0000-000000000000")
    assert not page.exception
    assert "has no point 00000000" in page.error[0].value


def test_words_of_others_are_shown_and_not_read_as_markdown(explored: Running):
    """A picture in it would be fetched from wherever it says by whoever follows the link."""
    page = searching(collection="shapes", id="![x](http://127.0.0.1:9/x.png) <b> `")
    assert not page.exception
    assert r"!\[x\](http" in page.error[0].value
    assert plain("cats/0001.png, 3:1") == "cats/0001.png, 3:1"
    assert cards.title({"title": "a_b"}) == "a_b"
    assert plain("*a_b* <script> $x$ [y](z)") == r"\*a\_b\* \<script\> \$x\$ \[y\](z)"


def test_the_map_counts_its_points_and_colours_them_by_label(explored: Running):
    page = opened(MAP, collection="shapes")
    assert not page.exception
    assert {box.label: box.value for box in page.selectbox}["Colour by"] == "label"
    assert "40 points, coloured by label" in [caption.value for caption in page.caption]


def test_a_link_brings_back_the_lasso_of_the_map_and_nonsense_in_it_is_ignored(explored: Running):
    for nonsense in ("nonsense", "nan,0,0", "0,0,0", "1,2"):
        assert not opened(MAP, collection="shapes", view=nonsense, lasso="inf,0,0,0,1,1").exception
    link = {"collection": "shapes", "lasso": "-1,-1,1,-1,1,1,-1,1", "view": "nonsense"}
    page = opened(MAIN, **link).switch_page("screens/map.py").run()
    assert not page.exception
    assert [heading.value for heading in page.subheader] == ["40 selected"]
    assert "round 20 · square 20" in [caption.value for caption in page.caption]
    assert "view" not in page.query_params


def test_a_view_of_the_map_is_saved_and_linked(explored: Running):
    page = opened(MAIN, collection="shapes").switch_page("screens/map.py").run()
    {box.label: box for box in page.text_input}["Save this view as"].set_value("all of them")
    {button.label: button for button in page.button}["Save"].click().run()
    assert not page.exception
    with explored.client() as client:
        [view] = client.views("shapes")
        client.forget_view("shapes", "all of them")
    assert (view.name, view.choices) == ("all of them", {"colour": "label"})


def test_data_health_lists_what_was_found(explored: Running):
    page = opened(MAIN, collection="shapes").switch_page("screens/health.py").run()
    assert not page.exception
    with explored.client() as client:
        found = client.health("shapes").to_pylist()
    doubtful = sum(row["agreement"] < 0.5 for row in found)
    assert [tab.label for tab in page.tabs][1] == f"Labels in doubt ({doubtful})"
    assert [tab.label for tab in page.tabs][3] == "Cover (40)"
    assert any("odder than" in text.value for text in page.tabs[2].text)
    assert any(" or " in f" {text.value}" for text in page.tabs[1].text)


def test_jobs_are_listed_started_and_told_what_is_wrong(explored: Running):
    page = opened(MAIN).switch_page("screens/jobs.py").run()
    assert not page.exception
    source, collection = page.text_input[0], page.text_input[1]
    source.set_value(str(explored.home / "shapes"))
    collection.set_value("again")
    page.number_input[0].set_value(3)
    page.button[0].click().run()
    assert not page.exception
    assert "is queued" in page.success[0].value
    with explored.client() as client:
        job = until(lambda: next((one for one in client.jobs() if "index://again" in one.command), None))
        until(lambda: client.job(job.id).state == "done", 60)
        assert client.collection("again").points == 3
        page.run()
        assert any("**embed** · done" in text.value for text in page.markdown)
        client.drop_collection("again")
    page.text_input[1].set_value("No Such Name")
    page.button[0].click().run()
    assert "is no place for vectors" in page.error[0].value


def test_a_prediction_is_asked_for_with_the_options_of_its_task(explored: Running):
    page = opened(MAIN, model="ranks@1", task="rank").switch_page("screens/predict.py").run()
    assert not page.exception
    assert "Drop an item, or type a text" in page.info[0].value
    page.text_area[0].set_value("red cat")
    page.sidebar.text_input[0].set_value("red cat").run()
    assert not page.exception
    assert json.loads(page.json[0].value)["score"] == pytest.approx(1, abs=1e-4)
    page.sidebar.text_input[0].set_value("").run()
    assert not page.exception
    assert "query" in page.error[0].value


def test_an_item_is_classified_by_sentences_that_are_typed(explored: Running):
    page = opened(MAIN, model="colours@1", task="zero_shot", entry="text").switch_page("screens/predict.py").run()
    assert not page.exception
    page.text_area[0].set_value("a red cat")
    page.sidebar.text_area[0].set_value("blue\na red dog\n green").run()
    assert not page.exception
    assert not page.error
    assert page.metric[0].value == "a red dog"
    page.sidebar.text_area[0].set_value("").run()
    assert not page.exception
    assert "labels" in page.error[0].value


def test_a_collection_that_was_not_examined_says_how_to(explored: Running):
    with explored.client() as client:
        facts = client.collection("shapes").model_dump(include=set(wire.NewCollection.model_fields))
        client.create_collection(wire.NewCollection(**facts | {"name": "bare"}))
        pages_server.collections.clear()
        page = opened(HEALTH, collection="bare")
        assert "enfold index health bare" in page.info[0].value
        client.drop_collection("bare")


def test_without_a_server_the_page_says_how_to_start_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ENFOLD_URL", f"http://127.0.0.1:{ports.free()}")
    pages_server.client.clear()
    pages_server.collections.clear()
    page = opened(MAIN)
    assert not page.exception
    assert "start one with 'enfold serve'" in page.error[0].value


def test_a_run_shows_its_curves_its_figures_and_a_collapse(explored: Running):
    trained.run(explored.home / "runs", "gmml-1")
    page = opened(MAIN, run="gmml-1").switch_page("screens/runs.py").run()
    assert not page.exception
    assert "**gmml** on 20 items of **shapes**" in page.markdown[0].value
    assert "collapsed" in page.warning[0].value
    assert {one.value for one in page.subheader} == {"pretrain", "Stages"}
    assert [one.label for one in page.expander] == ["… pretrain (pretrain)", "· evaluate (evaluate)"]


def test_methods_for_my_items_and_what_was_measured_of_one(explored: Running):
    page = opened(MAIN, items="image", method="gmml").switch_page("screens/methods.py").run()
    assert not page.exception
    assert {"gmml", "simclrv2"} <= set(page.dataframe[0].value["method"])
    assert set(page.dataframe[0].value["state"]) == {"working"}
    assert page.subheader[0].value == "GMML is All you Need"
    assert "beats scratch" in page.markdown[0].value
    everything = opened(MAIN, items="any", method="swav").switch_page("screens/methods.py").run()
    assert len(everything.dataframe[0].value) == 96
    assert everything.info[0].value == "Not built yet."
