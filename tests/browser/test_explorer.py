"""What a person does in the explorer. Screenshots go to build/browser."""

from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from app import map_points
from tests import trained
from tests.browser.conftest import SCREENSHOTS
from tests.servers import Running

_MILLISECONDS = 20_000


def test_a_lasso_on_the_map_brings_out_pictures(page: Page, browser: Browser, explorer: str):
    page.goto(f"{explorer}/map?collection=shapes")
    plot = page.locator(".frame[data-drawn] canvas")
    expect(plot).to_be_visible(timeout=_MILLISECONDS)
    box = plot.bounding_box()
    assert box is not None
    corners = [(0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98), (0.02, 0.02)]
    places = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=10)
    page.mouse.up()
    expect(page.get_by_text("40 selected")).to_be_visible(timeout=_MILLISECONDS)
    expect(page.get_by_text("similar")).to_have_count(40, timeout=_MILLISECONDS)
    page.screenshot(path=SCREENSHOTS / "map.png", full_page=True)
    page.wait_for_url("**lasso=*", timeout=_MILLISECONDS)
    again = browser.new_page()
    again.goto(page.url)
    expect(again.get_by_text("40 selected")).to_be_visible(timeout=_MILLISECONDS)
    again.close()


def test_values_picked_under_the_map_are_brought_out(page: Page, explorer: str):
    page.goto(f"{explorer}/map?collection=shapes")
    page.get_by_role("group", name="Values").get_by_role("button", name="round").click(timeout=_MILLISECONDS)
    expect(page.get_by_text("20 selected")).to_be_visible(timeout=_MILLISECONDS)
    page.get_by_role("textbox", name="Save this view as").or_(page.get_by_text("Saved views")).first.click()
    expect(page.get_by_label("Save this view as")).to_be_visible(timeout=_MILLISECONDS)


def test_a_point_under_the_pointer_is_shown(page: Page, explorer: str, server: Running):
    with server.client() as client:
        points = client.layout("shapes")
    page.goto(f"{explorer}/map?collection=shapes")
    plot = page.locator(".frame[data-drawn] canvas")
    expect(plot).to_be_visible(timeout=_MILLISECONDS)
    box = plot.bounding_box()
    assert box is not None
    drawn = map_points.draw(points, None).points.slice(0, 1).to_pylist()[0]
    half = min(box["width"], box["height"]) / 2  # the whole map fits the smaller side
    x, y = (box[side] + box[length] / 2 for side, length in (("x", "width"), ("y", "height")))
    for step in (1, 0):  # it comes to rest there
        page.mouse.move(x + drawn["x"] * half + step, y - drawn["y"] * half + step)
    expect(page.get_by_text("similar")).to_have_count(1, timeout=_MILLISECONDS)
    expect(page.get_by_text(points["item"][0].as_py())).to_be_visible(timeout=_MILLISECONDS)


def test_every_page_fits_a_phone_and_the_dark(browser: Browser, explorer: str, server: Running):
    with server.client() as client:
        id = client.layout("shapes")["id"][0].as_py()
    phone = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    for name, address, shown in (
        ("home", "", "Collections"),
        ("search", f"search?collection=shapes&id={id}", "of 40 points"),
        ("map", "map?collection=shapes", "40 points"),
        ("health", "health?collection=shapes", "Copies"),
        ("methods", "methods", "Methods"),
    ):
        phone.goto(f"{explorer}/{address}")
        expect(phone.get_by_text(shown).first).to_be_visible(timeout=_MILLISECONDS)
        wide = phone.evaluate("document.scrollingElement.scrollWidth - window.innerWidth")
        phone.screenshot(path=SCREENSHOTS / f"phone-{name}.png")
        assert wide <= 0, f"{name} is {wide} pixels too wide"
    phone.close()


def test_a_dropped_picture_finds_itself(page: Page, explorer: str, server: Running):
    page.goto(f"{explorer}/search?collection=shapes")
    picture = next(Path(server.home / "shapes/round").glob("*.png"))
    page.locator("input[type=file]").set_input_files(picture)
    first = page.locator("[data-testid=stText]").first
    expect(first).to_contain_text("round · 1.000", timeout=_MILLISECONDS)
    expect(page.get_by_text("similar")).to_have_count(18, timeout=_MILLISECONDS)
    page.screenshot(path=SCREENSHOTS / "search.png", full_page=True)


def test_similar_leads_on_and_the_address_can_be_shared(page: Page, browser: Browser, explorer: str, server: Running):
    page.goto(f"{explorer}/search?collection=shapes")
    page.locator("input[type=file]").set_input_files(next(Path(server.home / "shapes/round").glob("*.png")))
    page.get_by_text("similar").nth(1).click(timeout=_MILLISECONDS)
    page.wait_for_url("**id=*", timeout=_MILLISECONDS)
    again = browser.new_page()
    again.goto(page.url)
    expect(again.get_by_text("of 40 points of tiny@1")).to_be_visible(timeout=_MILLISECONDS)


def test_a_card_opens_its_item_and_a_cloud_can_be_turned(page: Page, explorer: str, server: Running):
    with server.client() as client:
        [first, *_] = client.search("clouds", item=server.home / "clouds/0.npy", modality="points").hits
    page.goto(f"{explorer}/search?collection=clouds&id={first.id}")
    page.get_by_text("open", exact=True).first.click(timeout=_MILLISECONDS)
    page.wait_for_url("**/item?*", timeout=_MILLISECONDS)
    scene = page.locator(".js-plotly-plot canvas").first
    expect(scene).to_be_visible(timeout=_MILLISECONDS)
    expect(page.get_by_text("open", exact=True)).to_have_count(6, timeout=_MILLISECONDS)
    before = scene.screenshot()
    scene.hover()
    page.mouse.down()
    page.mouse.move(700, 500, steps=8)
    page.mouse.up()
    assert scene.screenshot() != before
    page.screenshot(path=SCREENSHOTS / "item.png", full_page=True)


def test_home_searches_everything_by_a_dropped_picture(page: Page, explorer: str, server: Running):
    page.goto(explorer)
    expect(page.get_by_text("clouds@1").or_(page.get_by_text("8 vectors of"))).to_be_visible(timeout=_MILLISECONDS)
    page.screenshot(path=SCREENSHOTS / "home.png", full_page=True)
    page.locator("input[type=file]").set_input_files(next(Path(server.home / "shapes/round").glob("*.png")))
    expect(page.get_by_text("round · 1.000").first).to_be_visible(timeout=_MILLISECONDS)
    expect(page.get_by_text("similar")).to_have_count(18, timeout=_MILLISECONDS)


def test_two_models_are_compared_on_the_same_items(page: Page, explorer: str):
    page.goto(f"{explorer}/compare?a=shapes&b=shapes-by-other")
    expect(page.get_by_text("Who moved most")).to_be_visible(timeout=_MILLISECONDS)
    expect(page.get_by_text("similar")).to_have_count(12, timeout=_MILLISECONDS)
    page.screenshot(path=SCREENSHOTS / "compare.png", full_page=True)


def test_data_health_shows_its_lists(page: Page, explorer: str):
    page.goto(f"{explorer}/health?collection=shapes")
    page.get_by_role("tab", name="Odd ones").click(timeout=_MILLISECONDS)
    expect(page.get_by_text("odder than").first).to_be_visible(timeout=_MILLISECONDS)
    page.screenshot(path=SCREENSHOTS / "health.png", full_page=True)


def test_a_dropped_picture_is_labelled_and_its_nearest_are_shown(page: Page, explorer: str, server: Running):
    page.goto(f"{explorer}/predict?model=tiny@1")
    page.locator("input[type=file]").set_input_files(next(Path(server.home / "shapes/round").glob("*.png")))
    expect(page.get_by_text("Nearest in shapes")).to_be_visible(timeout=_MILLISECONDS)
    expect(page.get_by_text("sure").first).to_be_visible(timeout=_MILLISECONDS)
    expect(page.get_by_text("similar")).to_have_count(6, timeout=_MILLISECONDS)
    page.screenshot(path=SCREENSHOTS / "predict.png", full_page=True)


def test_a_method_is_chosen_for_my_items_and_a_run_is_watched(page: Page, explorer: str, server: Running):
    page.goto(f"{explorer}/methods?items=image&method=gmml")
    expect(page.get_by_text("GMML is All you Need")).to_be_visible(timeout=_MILLISECONDS)
    expect(page.locator(".js-plotly-plot").first).to_be_visible(timeout=_MILLISECONDS)
    page.screenshot(path=SCREENSHOTS / "methods.png", full_page=True)
    trained.run(server.home / "runs", "gmml-1")
    page.goto(f"{explorer}/runs?run=gmml-1")
    expect(page.get_by_text("0 of 2 stages done")).to_be_visible(timeout=_MILLISECONDS)
    expect(page.get_by_test_id("stVegaLiteChart").first).to_be_visible(timeout=_MILLISECONDS)
    trained.finish(server.home / "runs", "gmml-1")  # the page looks again by itself
    expect(page.get_by_text("1 of 2 stages done")).to_be_visible(timeout=_MILLISECONDS)
    page.screenshot(path=SCREENSHOTS / "runs.png", full_page=True)
