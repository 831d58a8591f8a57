"""The models that the hosted Tinker API serves, what they are and what they cost, as of a date.

``lineup.json`` is a copy with its date and source, not fetched by this project. Models come and go and prices change,
so what the service publishes (`backends.planning.prices`), what it answers (`text2sql models --remote`) and
`tinker.prices` go before it. A price that is not known is None, never zero.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict

from backends.options import Prices


class HostedModel(BaseModel):
    """A model that is served.

    Attributes:
        name: As the API takes it; the same weights at a longer context have another name.
        kind: base (no chat format), instruct, hybrid (thinks or not, as asked) or reasoning (always thinks).
        context: Tokens of prompt and answer.
        renderer: The chat format that the cookbook recommends, by its name; None where it is not known.
        train: Dollars for a million tokens of training.
        prefill: Dollars for a million prompt tokens.
        cached_prefill: Dollars for a million prompt tokens that had been read before.
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
        """What a run is charged; None unless training, prompts and sampling all have a price."""
        if self.train is None or self.prefill is None or self.sample is None:
            return None
        return Prices(train=self.train, prefill=self.prefill, sample=self.sample, cached_prefill=self.cached_prefill)


class RetiredModel(BaseModel):
    """A model that was served; ``since`` is the day on which it went, None where that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    since: str | None = None


class Lineup(BaseModel):
    """All models at a date, the smaller first within a family."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    as_of: str
    source: str
    models: list[HostedModel]
    retired: list[RetiredModel]

    def find(self, name: str) -> HostedModel | None:
        """The served model of a name."""
        return next((model for model in self.models if model.name == name), None)

    def find_retired(self, name: str) -> RetiredModel | None:
        """The retired model of a name."""
        return next((model for model in self.retired if model.name == name), None)


@cache
def lineup() -> Lineup:
    """The line-up that comes with the program."""
    return Lineup.model_validate(json.loads(files(__package__).joinpath("lineup.json").read_text(encoding="utf-8")))
