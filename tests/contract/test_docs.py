"""Generated pages are current, and the docs speak of things that exist."""

import re
from pathlib import Path

import pytest

from benchmarks.harness import report
from enfold.cli import COMMANDS
from training import catalogue

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_catalogue_page_is_what_make_docs_writes():
    assert (ROOT / "docs/catalogue.md").read_text() == catalogue.page(), "run make docs"
    assert (ROOT / "enfold/catalogue.json").read_text() == catalogue.listed(), "run make docs"


@pytest.mark.parametrize("page", report.PAGES, ids=lambda page: page.name)
def test_the_tables_of_measurements_are_what_make_docs_writes(page: Path):
    assert page.read_text() == report.page(page), "run make docs"


def test_every_published_result_stands_on_a_page():
    marks = re.findall(r"<!-- bench:(\w+) -->", "".join(page.read_text() for page in report.PAGES))
    assert {file.stem for file in report.PUBLISHED.glob("*.json")} <= set(marks)
    assert len(marks) == len(set(marks))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_named_is_in_the_table(page: Path):
    first_words = {name.split()[0] for name in COMMANDS}
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
        for word in re.findall(r"^enfold (\w+)", block, re.MULTILINE):
            assert word in first_words


def test_no_page_names_a_machine():
    for page in PAGES:
        assert not re.search(r"(/home/|/root/|/work/|pypi\.org|registry\.npmjs)", page.read_text()), page
