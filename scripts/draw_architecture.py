"""Draws docs/architecture.svg from the contracts of `pyproject.toml` and the first sentence of each package.

Usage: python scripts/draw_architecture.py

A row of the picture is a layer: it may import what stands below it, and nothing above. So the picture shows what
`lint-imports` checks, and a test compares it with the file.
"""

from __future__ import annotations

import ast
import re
import tomllib
from html import escape
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
WIDTH, ROW, TOP, LEFT = 960, 33, 96, 24
LEGEND = "A row imports what is below it, never what is above."
STYLE = """
    text { font: 13px system-ui, sans-serif; fill: #1a1a2e }
    .title { font-weight: 600; font-size: 15px }
    .name { font-family: ui-monospace, monospace; font-weight: 600 }
    .paper { fill: #fff }
    .layer { fill: #eef1fb; stroke: #c3cbee }
    .door { fill: #fdf0d5; stroke: #e5c07b }
"""


def first_sentence(module: str) -> str:
    """The first sentence of a module's docstring, without its full stop."""
    path = REPOSITORY / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    paragraph = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n\n")[0]
    return re.split(r"\.(?:\s|$)", " ".join(paragraph.split()), maxsplit=1)[0].replace("`", "")


def layers(contract: dict[str, object]) -> list[list[str]]:
    """The existing modules of a contract, layer by layer."""
    (container,) = contract["containers"]
    rows = [[name.strip(" ()") for name in re.split(r"[|:]", layer)] for layer in contract["layers"]]
    return [[f"{container}.{name}" for name in row if _exists(container, name)] for row in rows]


def _exists(container: str, name: str) -> bool:
    path = REPOSITORY / container / name
    return path.is_dir() or path.with_suffix(".py").is_file()


def _doors_legend() -> list[str]:
    return [
        f'<rect class="door" x="{LEFT + 360}" y="18" width="22" height="20" rx="4"/>',
        f'<text x="{LEFT + 390}" y="32">Of backends, text2sql imports these, and open_backend.</text>',
    ]


def draw() -> str:
    """The picture, as SVG."""
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    opened = next(c for c in contracts if c["type"] == "protected")["ignore_imports"]
    doors = {re.sub(r"\.\*+$", "", i.partition(" -> ")[2]) for i in opened if i.startswith("text2sql.**")}
    parts, y = [f'<text x="{LEFT}" y="32">{LEGEND}</text>', *_doors_legend()], TOP
    for contract in (c for c in contracts if c["type"] == "layers"):
        (container,) = contract["containers"]
        parts.append(f'<text class="title" x="{LEFT}" y="{y - 12}">{container}: {first_sentence(container)}</text>')
        for modules in filter(None, layers(contract)):
            height = ROW * len(modules)
            for place, module in enumerate(modules):
                top = y + place * ROW
                kind = "door" if module in doors else "layer"
                name = module.partition(".")[2]
                parts += [
                    f'<rect class="{kind}" x="{LEFT}" y="{top}" width="{WIDTH - 2 * LEFT}" height="{ROW - 4}" rx="5"/>',
                    f'<text class="name" x="{LEFT + 12}" y="{top + 20}">{name}</text>',
                    f'<text x="{LEFT + 180}" y="{top + 20}">{escape(first_sentence(module), quote=False)}</text>',
                ]
            y += height + 6
        y += 48
    body = "\n  ".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y - 30}" role="img">\n'
        f"  <title>The layers of text2sql and of backends</title>\n  <style>{STYLE}  </style>\n"
        f'  <rect class="paper" width="{WIDTH}" height="{y - 30}" rx="8"/>\n  {body}\n</svg>\n'
    )


if __name__ == "__main__":
    (REPOSITORY / "docs" / "architecture.svg").write_text(draw(), encoding="utf-8")
