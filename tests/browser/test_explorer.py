"""What a person does in the explorer. Screenshots go to build/browser."""

from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import SCREENSHOTS
from tests.servers import Running

_MILLISECONDS = 20_000


def test_a_lasso_on_the_map_brings_out_pictures(page: Page, explorer: str):
    page.goto(f"{explorer}/map?collection=shapes")
    plot = page.locator(".js-plotly-plot .draglayer .drag").first
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


def test_a_dropped_picture_finds_itself(page: Page, explorer: str, server: Running):
    page.goto(f"{explorer}/?collection=shapes")
    picture = next(Path(server.home / "shapes/round").glob("*.png"))
    page.locator("input[type=file]").set_input_files(picture)
    first = page.locator("[data-testid=stText]").first
    expect(first).to_contain_text("round · 1.000", timeout=_MILLISECONDS)
    expect(page.get_by_text("similar")).to_have_count(18, timeout=_MILLISECONDS)
    page.screenshot(path=SCREENSHOTS / "search.png", full_page=True)


def test_similar_leads_on_and_the_address_can_be_shared(page: Page, browser: Browser, explorer: str, server: Running):
    page.goto(f"{explorer}/?collection=shapes")
    page.locator("input[type=file]").set_input_files(next(Path(server.home / "shapes/round").glob("*.png")))
    page.get_by_text("similar").nth(1).click(timeout=_MILLISECONDS)
    page.wait_for_url("**id=*", timeout=_MILLISECONDS)
    again = browser.new_page()
    again.goto(page.url)
    expect(again.get_by_text("of 40 points of tiny@1")).to_be_visible(timeout=_MILLISECONDS)
