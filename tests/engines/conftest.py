"""The shop in each engine that is to be had."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.servers import shop_in


@pytest.fixture(scope="module", params=["sqlite", "duckdb", "postgres", "mysql"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The place of the shop, once in each engine."""
    with shop_in(request.param, tmp_path_factory.mktemp(request.param)) as place:
        yield place
