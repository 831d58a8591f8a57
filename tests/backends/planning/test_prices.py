"""Prices: as published today, else as of the file's date, and never zero for what is not known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from backends.options import Prices, TinkerOptions
from backends.planning import prices
from backends.planning.lineup import lineup
from backends.planning.prices import fetch_list, find_prices, list_address
from tests.support.hosted_service import LISTED, HostedService, serving

FOUR_B = "Qwen/Qwen3.5-4B"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostedService]:
    """The published list, at another address."""
    with serving() as running:
        monkeypatch.setattr(prices, "PUBLISHED_URL", running.price_list)
        fetch_list.cache_clear()
        yield running
        fetch_list.cache_clear()


def test_the_published_list_goes_before_the_file(service: HostedService) -> None:
    found = find_prices("tiny", TinkerOptions())
    assert found is not None
    assert found[0] == Prices(train=3000, prefill=1000.5, sample=2000, cached_prefill=200.1)
    assert service.price_list in found[1]
    # A model that today's list has no more is not priced by yesterday's.
    assert find_prices(FOUR_B, TinkerOptions()) is None
    assert [path for path, _ in service.asked] == ["/tinker/models.json"]


def test_a_variant_of_a_longer_context_has_its_own_price(service: HostedService) -> None:
    service.models = [LISTED, {**LISTED, "tinker_id": "tiny:peft:262144", "train": "$9000", "note": "until May"}]
    base, longer = (find_prices(name, TinkerOptions()) for name in ("tiny", "tiny:peft:262144"))
    assert base and longer and (base[0].train, longer[0].train) == (3000, 9000)
    assert "until May" in longer[1] and find_prices("tiny:peft:131072", TinkerOptions()) is None


@pytest.mark.parametrize("written", ["", "free", "$0", "0.00", None, "-1", "nan", "$1 a day"])
@pytest.mark.parametrize("kind", ["train", "prefill", "sample", "cached_prefill"])
def test_what_is_no_price_is_not_known(service: HostedService, kind: str, written: Any) -> None:
    service.models = [{**LISTED, kind: written}]
    found = find_prices("tiny", TinkerOptions())
    if kind != "cached_prefill":
        assert found is None
    else:
        # Then prompts are charged in full.
        assert found and found[0].cached_prefill is None and found[0].cost(0, 10, 0, cached=10) == 10 * 1000.5 / 1e6


@pytest.mark.parametrize("models", [{}, [], [1, "x"], [{"tinker_id": 3}], "gone"])
def test_another_answer_than_a_list_leaves_the_dated_file(service: HostedService, models: Any) -> None:
    service.models = models
    found = find_prices(FOUR_B, TinkerOptions())
    assert found and lineup().as_of in found[1]


def test_without_the_network_the_dated_file_stands_in_and_says_so() -> None:
    found = find_prices(FOUR_B, TinkerOptions())
    assert found and found[0].cached_prefill == 0.066 and lineup().as_of in found[1] and "not be reached" in found[1]


def test_a_price_that_is_not_known_is_none_and_never_zero() -> None:
    partly = next(model for model in lineup().models if model.train is None)
    assert partly.prefill and find_prices(partly.name, TinkerOptions()) is None
    assert find_prices("nobody/knows", TinkerOptions()) is None
    given = Prices(train=1, prefill=2, sample=3)
    assert find_prices(partly.name, TinkerOptions(prices=given)) == (given, "tinker.prices")


def test_another_server_does_not_charge_by_the_services_list(monkeypatch: pytest.MonkeyPatch) -> None:
    own = "http://127.0.0.1:8000"
    assert find_prices(FOUR_B, TinkerOptions(base_url=own)) is None
    monkeypatch.setenv("TINKER_BASE_URL", own)
    assert list_address(TinkerOptions()) is None
    assert list_address(TinkerOptions(base_url="https://eu.thinkingmachines.dev/services/x")) == prices.PUBLISHED_URL
    assert list_address(TinkerOptions(base_url="https://thinkingmachines.dev.example")) is None
    assert list_address(TinkerOptions(price_list="https://prices.example")) == "https://prices.example"


def test_prompts_read_before_cost_what_the_list_says() -> None:
    found = Prices(train=1, prefill=10, sample=100, cached_prefill=2)
    assert found.cost(1e6, 1e6, 1e6) == 111
    assert found.cost(0, 1e6, 0, cached=4e5) == pytest.approx(6 + 0.8)
