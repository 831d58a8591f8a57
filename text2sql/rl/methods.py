"""The methods of learning from verdicts: what a group of answers teaches, and the loss that teaches it.

A method is all that differs; sampling, judging, the journal, the optimiser step and what is logged are the loop's
(`text2sql.rl.loop`). A new one is a class here and its name in `text2sql.config.rl.Method`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from text2sql.config.rl import RlConfig
from text2sql.data.prompts import Tokens
from text2sql.rl import preferences, rejection
from text2sql.rl.advantages import answers_with_advantages, policy_data, weighed_data
from text2sql.rl.answers import AnswerDatum, TrainedAnswer, sampled_answers
from text2sql.runs.rollouts import Asked, PaidGroup, SampledGroup

if TYPE_CHECKING:
    from backends.interface import CustomLoss


class Method(Protocol):
    """How the answers of a step teach.

    Attributes:
        loss: Of the step: one of the backend's, or a function.
        loss_config: Its settings, of the former.
        together: N answers in a row are one lesson: 2 where they are pairs.
        reference: The model that is asked for its log-probabilities of all answers; None for none.
        nothing: Where no group teaches, why, in a sentence's end.
    """

    loss: str | CustomLoss
    loss_config: Mapping[str, float]
    together: int
    reference: Asked | None
    nothing: str

    def lessons(self, tokens: Tokens, sampled: SampledGroup, paid: PaidGroup) -> list[TrainedAnswer]:
        """The answers of a group that are learnt from; none of one that teaches nothing.

        Args:
            tokens: Its question, and the gold answer.
            sampled: The group.
            paid: Its rewards.
        """
        ...

    def data(self, answers: Sequence[TrainedAnswer]) -> list[AnswerDatum]:
        """The answers of one optimiser step, at least one, as data; the loss of all is a mean."""
        ...


class PolicyGradient:
    """Answers are made likelier by how much better they are paid than the others to their question."""

    together = 1
    nothing = "all answers to a question were paid alike"

    def __init__(self, settings: RlConfig) -> None:
        self._settings = settings
        self.loss: str | CustomLoss = settings.loss
        self.loss_config: Mapping[str, float] = settings.loss_config
        self.reference: Asked | None = None if settings.kl_coef is None else "start"

    def lessons(self, tokens: Tokens, sampled: SampledGroup, paid: PaidGroup) -> list[TrainedAnswer]:
        """All paid answers of a group that are not paid alike."""
        return answers_with_advantages(sampled, paid, self._settings.advantage)

    def data(self, answers: Sequence[TrainedAnswer]) -> list[AnswerDatum]:
        """With an advantage at each token, the divergence from the start model in it."""
        return policy_data(answers, self._settings.kl_coef or 0.0)


class RejectionSampling:
    """Right answers are imitated."""

    loss: str | CustomLoss = "cross_entropy"
    loss_config: Mapping[str, float] = {}
    together = 1
    reference: Asked | None = None
    nothing = "no answer was right"

    def __init__(self, settings: RlConfig) -> None:
        self._reward, self._settings = settings.reward, settings.rft

    def lessons(self, tokens: Tokens, sampled: SampledGroup, paid: PaidGroup) -> list[TrainedAnswer]:
        """A few different right answers, or the gold one where there are none and that is asked for."""
        right = rejection.right_answers(sampled, paid, self._reward, self._settings.kept)
        return right or ([rejection.gold_answer(tokens)] if self._settings.gold else [])

    def data(self, answers: Sequence[TrainedAnswer]) -> list[AnswerDatum]:
        """With an equal weight at each token of an answer."""
        return rejection.imitation_data(answers)


class Preferences:
    """Right answers are preferred to wrong ones."""

    loss_config: Mapping[str, float] = {}
    together = 2
    reference: Asked | None = "start"
    nothing = "no question had both a right answer and one that runs and is wrong"

    def __init__(self, settings: RlConfig) -> None:
        self._reward, self._settings = settings.reward, settings.dpo
        self.loss: str | CustomLoss = preferences.preference_loss(settings.dpo.beta)

    def lessons(self, tokens: Tokens, sampled: SampledGroup, paid: PaidGroup) -> list[TrainedAnswer]:
        """A few pairs of different answers, the right one first."""
        return preferences.preference_pairs(sampled, paid, self._reward, self._settings.pairs)

    def data(self, answers: Sequence[TrainedAnswer]) -> list[AnswerDatum]:
        """With the start model's log-probabilities, and the weight of a pair at each token."""
        return preferences.preference_data(answers)


class Distillation:
    """Answers become likelier where the teacher finds them likelier than the model that sampled them.

    The advantage at a token is ``-coef * (log q - log r)``, q when it was sampled and r under the teacher: the gradient
    of the reverse KL divergence, token by token, without regard to what a token leads to (Lu et al., 2025). Verdicts
    and rewards are logged, and not learnt from.
    """

    together = 1
    reference: Asked | None = "teacher"
    nothing = "the teacher found no answer likelier or less likely"

    def __init__(self, settings: RlConfig) -> None:
        self._coefficient = settings.distill.coef
        self.loss: str | CustomLoss = settings.loss
        self.loss_config: Mapping[str, float] = settings.loss_config

    def lessons(self, tokens: Tokens, sampled: SampledGroup, paid: PaidGroup) -> list[TrainedAnswer]:
        """All answers."""
        return sampled_answers(sampled, paid)

    def data(self, answers: Sequence[TrainedAnswer]) -> list[AnswerDatum]:
        """With an advantage at each token; see the class."""
        return weighed_data(answers, [-self._coefficient * answer.divergence for answer in answers])


METHODS: dict[str, Callable[[RlConfig], Method]] = {
    "policy_gradient": PolicyGradient,
    "rft": RejectionSampling,
    "dpo": Preferences,
    "distill": Distillation,
}


def find_method(settings: RlConfig) -> Method:
    """The method of a run that learns from verdicts."""
    return METHODS[str(settings.method)](settings)
