"""What the pages point at exists: links, anchors, files, folders, names in the code."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.pages import (
    EXAMPLES,
    ROOT,
    find_anchors,
    find_links,
    find_pages,
    find_spans,
    read_blocks,
    read_example,
    read_prose,
)

PAGES = find_pages()
SOURCES = ("client", "gateway", "proto", "stt_service", "training", "examples", "docs", "tests")

_FILE = re.compile(r"[\w.-]+(/[\w.-]+)*\.(py|md|proto|json|toml|mjs|js|png|svg|wav|safetensors)")
_FOLDER = re.compile(r"[\w.-]+(/[\w.-]+)*/")
_CONSTANT = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
_PLACE = re.compile(r"`([\w.]+)`\s+\(`([\w/.]+\.py)`\)")
_STEP = re.compile(r"^\d+\. .*?(?=^\d+\. |^$)", re.MULTILINE | re.DOTALL)
_METHOD = re.compile(r"`([A-Z]\w+\.\w+)`")
_SOURCE = re.compile(r"`([\w/]+\.py)`")
WALKS = ("## One frame", "## One error")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@each_page
def test_every_relative_link_leads_to_a_file_and_an_anchor(page: Path) -> None:
    for link in find_links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            assert anchor in find_anchors(target), f"{link} has no such heading"


@each_page
def test_every_file_and_folder_that_a_page_names_exists(page: Path) -> None:
    for span in find_spans(page):
        if _FILE.fullmatch(span) or _FOLDER.fullmatch(span):
            assert exists(span, page), f"there is no {span}"


@each_page
def test_every_constant_that_a_page_names_is_in_the_code(page: Path) -> None:
    code = "".join(
        path.read_text()
        for folder in SOURCES
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".proto")
    )
    for span in find_spans(page):
        for name in _CONSTANT.findall(span):
            assert name in code, f"nothing in the code is called {name}"


def test_every_function_that_a_page_places_is_there() -> None:
    places = [place for page in PAGES for place in _PLACE.findall(read_prose(page))]
    assert len(places) > 6
    for name, path in places:
        assert name in find_definitions(path), f"{path} has no {name}"


@pytest.mark.parametrize("walk", WALKS)
def test_every_step_of_a_walk_names_functions_of_the_files_that_it_names(walk: str) -> None:
    page = read_prose(ROOT / "docs" / "architecture.md")
    steps = _STEP.findall(page.partition(f"{walk}\n")[2].partition("\n## ")[0])
    assert len(steps) == 10
    for step in steps:
        assert _PLACE.search(step), f"no place in the code: {step}"
        defined = set[str]().union(*map(find_definitions, _SOURCE.findall(step)))
        for name in _METHOD.findall(step):
            assert name in defined, f"no file of this step has {name}: {step}"


def test_a_method_is_not_taken_for_one_of_another_class() -> None:
    defined = find_definitions("stt_service/engine/scheduler.py")
    assert {"Delivery", "Scheduler.plan"} <= defined
    assert not {"plan", "Delivery.plan"} & defined


def test_readme_is_short_and_leads_to_every_page() -> None:
    readme = ROOT / "README.md"
    assert len(readme.read_text().splitlines()) <= 150
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in find_links(readme)}
    assert set((ROOT / "docs").glob("*.md")) <= linked


def test_every_program_on_a_page_is_a_file_of_the_examples() -> None:
    programs = {
        read_example(path) for path in EXAMPLES.rglob("*") if path.suffix in (".py", ".mjs")
    }
    for block in read_blocks("python", "js"):
        assert block.text in programs, f"{block} is no file of examples/"


def test_the_examples_page_lists_every_program() -> None:
    listed = set(find_links(EXAMPLES / "README.md"))
    programs = {
        str(path.relative_to(EXAMPLES))
        for path in EXAMPLES.rglob("*")
        if path.suffix in (".py", ".mjs") and "node_modules" not in path.parts
    }
    assert programs == listed


@cache
def find_definitions(path: str) -> frozenset[str]:
    """The functions and classes of a module, and the methods of these as `CLASS.METHOD`."""
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    names: set[str] = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        if isinstance(node, functions | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {
                f"{node.name}.{each.name}" for each in node.body if isinstance(each, functions)
            }
    return frozenset(names)


def exists(name: str, page: Path) -> bool:
    """Whether a page's file or folder is where it says, or has a path that ends so."""
    if (ROOT / name).exists() or (page.parent / name).exists():
        return True
    return any(any((ROOT / folder).rglob(name.rstrip("/"))) for folder in SOURCES)
