"""The settings of the answering strategies: keys of the section `evaluation`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from backends.options import Changes
from text2sql.config.section import Section


class StrategySettings(Section):
    """Settings of an answering strategy: a key of `evaluation` that is null where the strategy is not asked for.

    A run that has been made without a strategy may be given it when it goes on.
    """

    CHANGES: ClassVar[Changes] = "measuring"


class FewShot(StrategySettings):
    """Few-shot prompting (Brown et al., 2020) of the base model, with solved training examples.

    The evaluation is labelled ``few-shot``; it does not replace the zero-shot one.
    """

    k: PositiveInt = Field(3, le=1000, description="Examples in a prompt; fewer, counted, where they do not fit.")
    select: Literal["bm25", "random"] = Field(
        "bm25", description="bm25: the training questions most like the one asked (bm25s); random: any, by seed."
    )


class SelfConsistency(StrategySettings):
    """Self-consistency (Wang et al., 2023): several answers to each question, and the one whose result most share.

    The evaluations are labelled ``base-vote`` and ``tuned-vote``.
    """

    samples: int = Field(5, ge=2, le=10_000, description="Answers sampled for each question.")
    temperature: PositiveFloat = Field(0.7, le=100, description="Temperature that they are sampled at.")


class Samples(SelfConsistency):
    """Several answers to each question, all of them judged: pass@k (Chen et al., 2021), and the majority's accuracy.

    The evaluations are labelled ``base-samples``, ``start-samples`` and ``tuned-samples``. A number alone is
    that of the samples.
    """

    samples: int = Field(8, ge=2, le=10_000, description="Answers sampled for each question.")
    temperature: PositiveFloat = Field(1.0, le=100, description="Temperature that they are sampled at.")

    @model_validator(mode="before")
    @classmethod
    def _number_alone(cls, value: object) -> object:
        return {"samples": value} if isinstance(value, int) and not isinstance(value, bool) else value


class Retry(StrategySettings):
    """Execution feedback (Chen et al., 2024): another answer where a query does not run.

    The evaluations are labelled ``base-retry`` and ``tuned-retry``.
    """

    attempts: PositiveInt = Field(2, le=100, description="Further answers at most.")
    show_error: bool = Field(
        True, description="Ask again with the query and its error in the prompt; false samples the same prompt again."
    )
    temperature: float = Field(0.7, ge=0, le=100, description="Temperature of the further answers.")
