"""The section `rl`: how a run learns from the evaluator's verdicts on the model's own answers."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from backends.losses import find_loss
from backends.options import Changes
from text2sql.config.section import Section

Method = Literal["policy_gradient", "rft", "dpo", "distill"]
Advantage = Literal["mean", "rloo", "std", "maxrl"]
PolicyLoss = Literal["importance_sampling", "ppo", "cispo"]


class RewardConfig(Section):
    """The reward of an answer, by the evaluator's verdict on it.

    An answer on which the evaluator cannot decide has no reward and leaves its group.
    """

    CHANGES: ClassVar[Changes] = "learning"

    equivalent: float = Field(1.0, description="The same results as the gold query on every database tried.")
    runs: float = Field(0.1, description="Runs, and differs.")
    partial: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="At most so much more for what runs and differs, by the share of the gold query's rows that it "
        "returns, on generated databases where there are some; 0: no such part.",
    )
    caught: float = Field(
        0.0, description="Agrees with the gold query on the question's own database, and differs on a generated one."
    )
    error: float = Field(0.0, description="Does not run, or takes too long.")
    refused: float = Field(-0.1, description="Is not a query that only reads.")
    truncated: float = Field(0.0, description="Was cut off at evaluation.max_new_tokens, whatever it says until then.")
    function: str | None = Field(
        None,
        pattern=r"^[\w.]+:\w+$",
        description="package.module:function of a text2sql.rl.rewards.RewardedAnswer whose value is the reward "
        "instead; null: the table above.",
    )
    on_failure: Literal["stop", "drop"] = Field(
        "stop", description="When the function raises, hangs or returns no number. drop: the answer leaves its group."
    )
    seconds: PositiveFloat = Field(
        10.0, description="Processor time of the function for one answer; loading its module is not counted."
    )
    databases: PositiveInt = Field(15, le=10_000, description="Databases generated for each answer.")

    @model_validator(mode="after")
    def _check_partial(self) -> RewardConfig:
        if self.partial and self.runs + self.partial >= self.equivalent:
            raise ValueError("partial: runs and partial together must be less than equivalent; lower it")
        return self


class RejectionConfig(Section):
    """Rejection sampling, `rl.method: rft`: right answers are imitated by cross-entropy."""

    CHANGES: ClassVar[Changes] = "learning"

    rounds: PositiveFloat = Field(2.0, description="Passes through the questions; the steps follow from it.")
    kept: PositiveInt = Field(2, le=10_000, description="Most different right answers to a question that are imitated.")
    gold: bool = Field(False, description="Imitate the gold query where none of the answers to a question is right.")


class PreferenceConfig(Section):
    """Preference pairs, `rl.method: dpo`: a right answer against one that runs and is wrong, of the same question."""

    CHANGES: ClassVar[Changes] = "learning"

    beta: PositiveFloat = Field(0.1, description="How closely the model is held to the one that it began with.")
    pairs: PositiveInt = Field(2, le=10_000, description="Most pairs of different answers to a question.")


class DistillationConfig(Section):
    """On-policy distillation, `rl.method: distill`: answers become likelier where a teacher finds them likelier."""

    CHANGES: ClassVar[Changes] = "learning"

    teacher: str | None = Field(
        None,
        description="Directory of a finished run, or a model as base_model names it; of the same tokenizer. A "
        "tinker://RUN/sampler_weights/NAME path works with backend: tinker.",
    )
    coef: PositiveFloat = Field(1.0, description="Weight of the divergence from the teacher in the advantages.")


class RlConfig(Section):
    """Learning from verdicts: answers are sampled, executed, rewarded, and made more or less likely.

    With a method the run learns so, from `training.start_from`; learning rate, Adam, validation, checkpoints and early
    stopping are those of `training`. Without one it is supervised, and `holdout` alone has a meaning.
    """

    CHANGES: ClassVar[Changes] = "learning"

    method: Method | None = Field(
        None,
        description="policy_gradient: by the advantage over the other answers in the group; rft: imitating right "
        "answers; dpo: by pairs of a right and a wrong one; distill: from a teacher; null: supervised.",
    )
    holdout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the training examples, the last ones, that supervised runs leave alone and answers are "
        "sampled for; 0 keeps none aside, and answers are sampled for all.",
    )
    holdout_by: Literal["question", "schema"] = Field(
        "question",
        description="What is kept aside: single questions, or with all questions on it whole schemas, so that answers "
        "are sampled for schemas that supervision has not shown.",
    )
    cold_start: bool = Field(
        False, description="Begin without training.start_from: an untuned model is seldom right, and so seldom paid."
    )
    steps: PositiveInt = Field(50, description="Steps: each samples, judges and trains. rft has rl.rft.rounds.")
    questions: PositiveInt = Field(16, description="Questions in a step.")
    group: int = Field(8, ge=2, le=10_000, description="Answers to each question; they are compared with one another.")
    temperature: PositiveFloat = Field(1.0, le=100, description="Temperature that they are sampled at.")
    advantage: Advantage = Field(
        "mean",
        description="Reward less the group's mean; rloo: less the mean of the others; std: in standard deviations; "
        "maxrl: in means.",
    )
    loss: PolicyLoss = Field("importance_sampling", description="Loss of a step (backends/losses.py).")
    loss_config: dict[str, float] = Field(default_factory=dict, description="Settings of the loss, where it has some.")
    substeps: PositiveInt = Field(
        1,
        description="Optimiser steps that the answers of a step are dealt out to; more than one needs a loss "
        "that bounds ratios, ppo or cispo, where the method has one of these.",
    )
    kl_coef: float | None = Field(
        None,
        ge=0,
        description="Weight of the KL divergence from the start model within the advantages; 0 only measures it, null "
        "does not, which saves a pass.",
    )
    max_steps_off_policy: NonNegativeInt = Field(
        0,
        description="Steps that the weights which sample may be behind those that learn: so many steps ahead are "
        "sampled while one is learnt from. 0 samples each from the newest weights.",
    )
    patience: PositiveInt = Field(
        10, description="Stop when so many steps in a row have no group that teaches anything."
    )
    rft: RejectionConfig = RejectionConfig()
    dpo: PreferenceConfig = PreferenceConfig()
    distill: DistillationConfig = DistillationConfig()
    reward: RewardConfig = RewardConfig()

    @model_validator(mode="after")
    def _check_method_keys(self) -> RlConfig:
        for key, methods in METHODS_OF_KEY.items():
            default = _default(key)
            if self.method is not None and self.method not in methods and getattr(self, key) != default:
                # A value that another configuration sets can be taken back on the command line as well.
                remedy = "" if isinstance(default, Section) else f", or set rl.{key}={default}, its default"
                raise ValueError(
                    f"{key} is a setting of {', '.join(methods)}; rl.method is {self.method}: take it out{remedy}"
                )
        table = self.reward
        if self.method == "distill" and self.distill.teacher is None:
            raise ValueError("method=distill needs distill.teacher: the directory of a finished run, or a model")
        others = ("runs", "caught", "error", "refused", "truncated")
        if self.method in ("rft", "dpo") and table.function is None:
            for name in others:
                if getattr(table, name) >= table.equivalent:
                    raise ValueError(
                        f"reward.{name} is not less than reward.equivalent, and {self.method} takes what is paid as "
                        "much as an equivalent answer for right; lower it"
                    )
        return self

    @model_validator(mode="after")
    def _check_loss(self) -> RlConfig:
        if self.uses_policy_loss and self.substeps > 1 and self.loss == "importance_sampling":
            raise ValueError(
                "substeps: from the second on the weights have moved away from those that sampled, which "
                "importance_sampling does not bound; set loss to ppo or cispo"
            )
        try:
            find_loss(self.loss).complete(self.loss_config)
        except ValueError as error:
            raise ValueError(f"loss_config: {error}") from None
        return self

    def total_steps(self, questions: int) -> int:
        """Steps of a run with so many questions: as many as configured, or as its rounds through them take."""
        return math.ceil(self.rft.rounds * questions / self.questions) if self.method == "rft" else self.steps

    @property
    def imitates_gold(self) -> bool:
        """Whether the run learns from gold answers."""
        return self.method is None or (self.method == "rft" and self.rft.gold)

    @property
    def max_trained_answers(self) -> int:
        """The most answers to a question that are learnt from."""
        return {"rft": min(self.rft.kept, self.group), "dpo": 2 * self.dpo.pairs}.get(str(self.method), self.group)

    @property
    def uses_reference_model(self) -> bool:
        """Whether a reference model reads all answers: the one that the run began with, or a teacher."""
        return self.method in ("dpo", "distill") or (self.method is not None and self.kl_coef is not None)

    @property
    def uses_policy_loss(self) -> bool:
        """Whether the loss of a step is that of a policy gradient, which weighs answers by their advantages."""
        return self.method in (None, "policy_gradient", "distill")


# The methods that have a key, of the keys that not all methods have.
METHODS_OF_KEY: dict[str, tuple[Method, ...]] = {
    "steps": ("policy_gradient", "dpo", "distill"),
    "advantage": ("policy_gradient",),
    "loss": ("policy_gradient", "distill"),
    "loss_config": ("policy_gradient", "distill"),
    "kl_coef": ("policy_gradient",),
    "rft": ("rft",),
    "dpo": ("dpo",),
    "distill": ("distill",),
}


def _default(key: str) -> Any:
    return RlConfig.model_fields[key].get_default(call_default_factory=True)
