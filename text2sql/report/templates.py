"""Rendering of a template to one self-contained HTML page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from text2sql import formats
from text2sql.report.figures import Plot

_HERE = Path(__file__).parent
PALETTE = _HERE / "palette.css"
STYLES = (PALETTE.name, "report.css")
# Control characters that HTML forbids, lone surrogates, and marks that reorder text: shown as escapes.
_UNSHOWABLE = re.compile(
    "[\x00-\x08\x0b-\x0d\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


def fill(template: str, plots: Mapping[str, Plot], **values: object) -> str:
    """Render a page with the style sheets and the figures inside; characters that HTML cannot show are escaped.

    Args:
        template: Name of a template file next to this module.
        plots: Figures by key.
        **values: The variables of the template.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        percent=formats.percent, points=formats.points, count=formats.count, pluralize=formats.pluralize
    )
    html = environment.get_template(template).render(
        style=Markup("".join((_HERE / name).read_text(encoding="utf-8") for name in STYLES)),
        plots=plots,
        svg={key: Markup(plot.inline) for key, plot in plots.items()},
        **values,
    )
    return _UNSHOWABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", html)
