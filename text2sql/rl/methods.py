"""The methods of learning from verdicts: which answers of a group are learnt from, and with which loss.

A method is all that differs; sampling, verdicts, the journal, the optimiser step and what is logged are common to all
(`text2sql.rl.verdict_steps`). A new one is a class here and its name in `text2sql.config.rl.Method`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from text2sql.config.rl import RlConfig
from text2sql.data.prompts import Tokens
from text2sql.rl import preferences, rejection
from text2sql.rl.advantages import answers_with_advantages, policy_data, token_advantage_data
from text2sql.rl.answers import AnswerDatum, TrainedAnswer, trained_answers
from text2sql.runs.rollouts import GradedGroup, ReferenceName, SampledGroup

if TYPE_CHECKING:
    from backends.interface import CustomLoss


class Method(Protocol):
    """How a step learns from its answers.

    Attributes:
        loss: Loss of a step: the name of one of the backend's, or a function.
        loss_config: Settings of the backend's loss.
        unit_size: Number of consecutive answers that the loss takes together and that no split may separate: 2 where
            they are pairs.
        reference: The reference model whose log-probabilities of all answers are needed; None for none.
        no_signal_reason: Why nothing is learnt where no group has a signal, as the end of a sentence.
    """

    loss: str | CustomLoss
    loss_config: Mapping[str, float]
    unit_size: int
    reference: ReferenceName | None
    no_signal_reason: str

    def select(self, tokens: Tokens, sampled: SampledGroup, graded: GradedGroup) -> list[TrainedAnswer]:
        """The answers of a group that are learnt from; none of a group without a signal.

        Args:
            tokens: Tokens of the prompt and of the gold answer.
            sampled: The sampled group.
            graded: The rewards of its answers.
        """
        ...

    def make_data(self, answers: Sequence[TrainedAnswer]) -> list[AnswerDatum]:
        """The answers of one optimiser step, at least one, as data; the loss of all is a mean."""
        ...


class PolicyGradient:
    """Answers become likelier by how much higher their reward is than that of the others to their question."""

    unit_size = 1
    no_signal_reason = "all answers to a question were paid alike"

    def __init__(self, settings: RlConfig) -> None:
        self._settings = settings
        self.loss: str | CustomLoss = settings.loss
        self.loss_config: Mapping[str, float] = settings.loss_config
        self.reference: ReferenceName | None = None if settings.kl_coef is None else "start"

    def select(self, tokens: Tokens, sampled: SampledGroup, graded: GradedGroup) -> list[TrainedAnswer]:
        """All answers with a reward, of a group whose rewards are not all equal."""
        return answers_with_advantages(sampled, graded, self._settings.advantage)

    def make_data(self, answers: Sequence[TrainedAnswer]) -> list[AnswerDatum]:
        """With an advantage at each token, the divergence from the start model in it."""
        return policy_data(answers, self._settings.kl_coef or 0.0)


class RejectionSampling:
    """Right answers are imitated."""

    loss: str | CustomLoss = "cross_entropy"
    loss_config: Mapping[str, float] = {}
    unit_size = 1
    reference: ReferenceName | None = None
    no_signal_reason = "no answer was right"

    def __init__(self, settings: RlConfig) -> None:
        self._reward, self._settings = settings.reward, settings.rft

    def select(self, tokens: Tokens, sampled: SampledGroup, graded: GradedGroup) -> list[TrainedAnswer]:
        """A few different right answers, or the gold one where there are none and `rl.rft.gold` is set."""
        right = rejection.right_answers(sampled, graded, self._reward, self._settings.kept)
        return right or ([rejection.gold_answer(tokens)] if self._settings.gold else [])

    def make_data(self, answers: Sequence[TrainedAnswer]) -> list[AnswerDatum]:
        """With an equal weight at each token of an answer."""
        return rejection.imitation_data(answers)


class Preferences:
    """Right answers are preferred to wrong ones."""

    loss_config: Mapping[str, float] = {}
    unit_size = 2
    reference: ReferenceName | None = "start"
    no_signal_reason = "no question had both a right answer and one that runs and is wrong"

    def __init__(self, settings: RlConfig) -> None:
        self._reward, self._settings = settings.reward, settings.dpo
        self.loss: str | CustomLoss = preferences.preference_loss(settings.dpo.beta)

    def select(self, tokens: Tokens, sampled: SampledGroup, graded: GradedGroup) -> list[TrainedAnswer]:
        """A few pairs of different answers, the right one first."""
        return preferences.preference_pairs(sampled, graded, self._reward, self._settings.pairs)

    def make_data(self, answers: Sequence[TrainedAnswer]) -> list[AnswerDatum]:
        """With the start model's log-probabilities, and the weight of a pair at each token."""
        return preferences.preference_data(answers)


class Distillation:
    """Answers become likelier where the teacher finds them likelier than the model that sampled them.

    The advantage at a token is ``-coef * (log q - log r)``, q when it was sampled and r under the teacher: the gradient
    of the reverse KL divergence, token by token, without regard to what a token leads to (Lu et al., 2025). Verdicts
    and rewards are logged, and not learnt from.
    """

    unit_size = 1
    reference: ReferenceName | None = "teacher"
    no_signal_reason = "the teacher found no answer likelier or less likely"

    def __init__(self, settings: RlConfig) -> None:
        self._coefficient = settings.distill.coef
        self.loss: str | CustomLoss = settings.loss
        self.loss_config: Mapping[str, float] = settings.loss_config

    def select(self, tokens: Tokens, sampled: SampledGroup, graded: GradedGroup) -> list[TrainedAnswer]:
        """All answers."""
        return trained_answers(sampled, graded)

    def make_data(self, answers: Sequence[TrainedAnswer]) -> list[AnswerDatum]:
        """With an advantage at each token, as the class says."""
        return token_advantage_data(answers, [-self._coefficient * answer.log_ratio for answer in answers])


METHODS: dict[str, Callable[[RlConfig], Method]] = {
    "policy_gradient": PolicyGradient,
    "rft": RejectionSampling,
    "dpo": Preferences,
    "distill": Distillation,
}


def find_method(settings: RlConfig) -> Method:
    """The method of a run that learns from verdicts."""
    return METHODS[str(settings.method)](settings)
