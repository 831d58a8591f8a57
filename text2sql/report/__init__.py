"""The report of a run: one offline HTML page, made from the files of its directory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from text2sql.report.page import write_report

__all__ = ["write_report"]


def __getattr__(name: str) -> Any:
    """Import the page maker, and with it jinja2, only when it is asked for."""
    if name == "write_report":
        from text2sql.report.page import write_report

        return write_report
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
