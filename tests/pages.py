"""The project's Markdown pages: their blocks, links, anchors and code spans."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_SPAN = re.compile(r"`([^`\n]+)`")
_HEADING = re.compile(r"^#{1,6} +(.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    page: Path
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {self.text.splitlines()[0][:60]}"


def find_pages() -> list[Path]:
    """Every Markdown file of the project, none of its environments or caches."""
    return [
        page
        for page in sorted(ROOT.rglob("*.md"))
        if not any(
            part.startswith(".") or part == "node_modules" for part in page.relative_to(ROOT).parts
        )
    ]


def read_blocks(*languages: str) -> list[Block]:
    """The blocks in these languages on all pages."""
    return [
        Block(page, language, dedent(text))
        for page in find_pages()
        for _, language, text in _BLOCK.findall(page.read_text())
        if language in languages
    ]


def read_prose(page: Path) -> str:
    """A page without its blocks."""
    return _BLOCK.sub("", page.read_text())


def find_links(page: Path) -> list[str]:
    """The targets of a page's links and pictures."""
    return _LINK.findall(_SPAN.sub("", read_prose(page)))


def find_spans(page: Path) -> list[str]:
    """What stands between backticks on a page, outside its blocks."""
    return _SPAN.findall(read_prose(page))


def find_anchors(page: Path) -> Iterator[str]:
    """The anchors that GitHub and its like make of a page's headings."""
    for heading in _HEADING.findall(read_prose(page)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        yield re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-")


def read_example(path: Path) -> str:
    """A program of examples/ as pages show it: without its docstring."""
    return re.sub(r'\A""".*?"""\n\n', "", path.read_text(), flags=re.DOTALL)
