"""From a template and its values to one self-contained HTML page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from text2sql import formats
from text2sql.report.figures import Plot

_HERE = Path(__file__).parent
PALETTE = _HERE / "palette.css"
STYLES = (PALETTE.name, "report.css")
# Controls that HTML forbids, lone surrogates, and the marks that reorder text: shown as escapes.
_UNSHOWABLE = re.compile(
    "[\x00-\x08\x0b-\x0d\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


def fill(template: str, plots: Mapping[str, Plot], **values: object) -> str:
    """The page as text, with the style sheet and the figures inside; what HTML cannot show is escaped.

    Args:
        template: A file next to this one.
        plots: Figures by key.
        **values: What the template asks for.
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
    return _UNSHOWABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", html)
