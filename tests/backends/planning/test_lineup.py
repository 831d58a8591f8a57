"""The hosted models: one entry each, prices whole or unknown, and how a service differs."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from backends.planning.lineup import HostedModel, lineup
from text2sql.commands import hosted_models


def test_every_model_is_listed_once_and_none_is_both_served_and_retired() -> None:
    known = lineup()
    names = [model.name for model in known.models] + [model.name for model in known.retired]
    assert len(set(names)) == len(names)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", known.as_of) and "tinker" in known.source


@pytest.mark.parametrize("model", lineup().models, ids=lambda model: model.name)
def test_prices_are_plausible(model: HostedModel) -> None:
    prices = [model.prefill, model.sample, model.train]
    assert all(price is None or 0 < price < 100 for price in prices)
    cached = model.cached_prefill
    assert cached is None or 0 < cached < model.prefill
    # A name with a context in it has that context.
    named = re.search(r":(\d+)$", model.name)
    assert named is None or int(named[1]) == model.context


def test_what_a_service_serves_is_held_against_the_list(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [model.name for model in lineup().models]
    served = [SimpleNamespace(model_name=name) for name in [*names[1:], "new/model"]]
    service = SimpleNamespace(get_server_capabilities=lambda: SimpleNamespace(supported_models=served))
    monkeypatch.setattr(hosted_models, "open_backend", lambda name, options: service)
    hosted_models.print_served(None)
    out = " ".join(capsys.readouterr().out.split())
    assert "without prices: new/model." in out and f"and not served: {names[0]}." in out
    served[:] = [SimpleNamespace(model_name=name) for name in names]
    hosted_models.print_served(None)
    assert "The service serves what the list" in capsys.readouterr().out
