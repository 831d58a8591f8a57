"""What the tests of a run share."""

from __future__ import annotations

from tests.support.quick_runs import quick

__all__ = ["quick"]
