"""Links, paths, modules and pictures of the pages are real."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from tests.docs.test_commands import PAGES, read, spans
from tests.support.repository import PARTS, REPOSITORY, repository_files

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(rf"^(?:{'|'.join(map(re.escape, PARTS))})/[\w./*-]*$")
MODULE = re.compile(r"^(?:text2sql|backends)(?:\.\w+)+$")
SOURCES = {Path(file).name for file in repository_files("*.py", "*.sh")}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_into_the_repository_leads_somewhere(page: str) -> None:
    for target in LINK.findall(read(page)):
        if re.match(r"https?://|mailto:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (REPOSITORY / page).parent / file if file else REPOSITORY / page
        assert path.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(path), f"{page}: {target}"


def test_every_page_is_in_the_contents_and_on_the_first_page() -> None:
    pages = {path.name for path in (REPOSITORY / "docs").glob("*.md")}
    listed = set(re.findall(r"- (?:\w+: )?(\w+\.md)$", (REPOSITORY / "mkdocs.yml").read_text(), re.MULTILINE))
    assert listed == pages
    assert {target.partition("#")[0] for target in LINK.findall(read("docs/index.md"))} >= pages - {"index.md"}


def anchors(path: Path) -> set[str]:
    """The names that a page's headings can be linked by."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_a_page_names_exists(page: str) -> None:
    for span in spans(page):
        word = span.partition(" ")[0].partition("::")[0]
        if PATH.match(word):
            assert any(REPOSITORY.glob(word.rstrip("/"))), f"{page}: {span}"
        elif re.fullmatch(r"\w+\.(?:py|sh)", word):
            assert word in SOURCES or word in FOREIGN_FILES, f"{page}: {span}"


# Files of other projects that the pages name.
FOREIGN_FILES = {"convert_hf_to_gguf.py"}


@pytest.mark.parametrize("page", PAGES)
def test_every_module_and_name_that_a_page_gives_exists(page: str) -> None:
    for span in spans(page):
        name = span.partition("(")[0]
        if MODULE.match(name):
            module, _, attribute = name.rpartition(".")
            if not _is_module(name):
                assert _is_module(module), f"{page}: {span}"
                assert re.search(rf"\b{attribute}\b", _source(module)), f"{page}: {span}"


def test_docstrings_and_comments_name_paths_that_exist() -> None:
    path = re.compile(rf"(?<![\w./-])(?:{'|'.join(map(re.escape, PARTS))})/[\w./-]+\.(?:py|md|sh|yaml)\b")
    for file in repository_files("*.py", "*.sh", "*.yaml", "*.yml", "*.j2", "Dockerfile", "Makefile"):
        if not file.startswith("tests/docs/"):
            for named in path.findall(read(file)):
                assert (REPOSITORY / named).exists(), f"{file}: {named}"


def _is_module(name: str) -> bool:
    path = REPOSITORY / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


def _source(module: str) -> str:
    path = REPOSITORY / module.replace(".", "/")
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()


def test_the_picture_of_the_layers_is_that_of_the_contracts() -> None:
    spec = importlib.util.spec_from_file_location("draw_architecture", REPOSITORY / "scripts" / "draw_architecture.py")
    drawing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawing)
    picture = (REPOSITORY / "docs" / "architecture.svg").read_text()
    assert picture == drawing.draw(), "Draw it again: python scripts/draw_architecture.py"
    assert picture.count('class="name"') > 25


def test_the_tree_in_contributing_names_every_package() -> None:
    tree = re.search(r"## The house\n.*?```\n(.*?)```", read("CONTRIBUTING.md"), re.DOTALL)[1]
    named, top = set(), ""
    for line in tree.splitlines():
        name = line.split()[0].rstrip("/")
        top = name if not line.startswith(" ") else top
        path = Path(top) / name if line.startswith(" ") else Path(name)
        assert (REPOSITORY / path).exists(), line
        named.add(path.as_posix())
    packages = {file.rpartition("/")[0] for file in repository_files("__init__.py") if file.count("/") == 2}
    assert {package for package in packages if package.startswith(("text2sql/", "backends/"))} <= named
