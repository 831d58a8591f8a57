"""The models that the hosted Tinker API serves, their kinds and prices, as of a date.

``lineup.json`` is a dated copy, not fetched by this project. Models come and go and prices change, so the prices that
the service publishes (`backends.planning.prices`), the models that it lists (`text2sql models --remote`) and
`tinker.prices` take precedence. An unknown price is None, never zero.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict

from backends.options import Prices


class HostedModel(BaseModel):
    """A model that the API serves.

    Attributes:
        name: Its name at the API; the same weights with a longer context have another name.
        kind: base (no chat format), instruct, hybrid (thinks on request) or reasoning (always thinks).
        context: Most tokens of prompt and answer together.
        renderer: Name of the chat format that the cookbook recommends; None if unknown.
        train: Dollars for a million tokens of training.
        prefill: Dollars for a million prompt tokens.
        cached_prefill: Dollars for a million prompt tokens that the service has cached.
        sample: Dollars for a million sampled tokens.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Literal["base", "instruct", "hybrid", "reasoning"]
    context: int
    renderer: str | None = None
    train: float | None = None
    prefill: float | None = None
    cached_prefill: float | None = None
    sample: float | None = None

    @property
    def prices(self) -> Prices | None:
        """The prices of a run; None unless training, prompts and sampling all have one."""
        return Prices.if_complete(
            train=self.train, prefill=self.prefill, sample=self.sample, cached_prefill=self.cached_prefill
        )


class RetiredModel(BaseModel):
    """A model that was served; ``since`` is the day on which it was retired, None if unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    since: str | None = None


class Lineup(BaseModel):
    """All models at a date, smaller ones first within a family."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    as_of: str
    source: str
    models: list[HostedModel]
    retired: list[RetiredModel]

    def find(self, name: str) -> HostedModel | None:
        """The served model with this name, if there is one."""
        return next((model for model in self.models if model.name == name), None)

    def find_retired(self, name: str) -> RetiredModel | None:
        """The retired model with this name, if there is one."""
        return next((model for model in self.retired if model.name == name), None)


@cache
def lineup() -> Lineup:
    """The line-up that is packaged with this project."""
    return Lineup.model_validate(json.loads(files(__package__).joinpath("lineup.json").read_text(encoding="utf-8")))
