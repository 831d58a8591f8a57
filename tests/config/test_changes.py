"""What each key changes stands next to it."""

from __future__ import annotations

import pytest

from text2sql.config import load_config
from text2sql.config.changes import differences
from text2sql.inference.strategies import STRATEGIES

OLD = load_config(None).model_dump(mode="json")


@pytest.mark.parametrize(
    ("override", "kind"),
    [
        ("name=other", "reports"),
        ("on_existing=resume", "reports"),
        ("hub.private=false", "reports"),
        ("tracking.tensorboard=true", "reports"),
        ("judge.model=gpt", "reports"),
        ("tinker.max_cost=3", "reports"),
        ("tinker.prices={train: 1, prefill: 1, sample: 1}", "reports"),
        ("training.log_samples=9", "reports"),
        ("evaluation.baseline=false", "reports"),
        ("tinker.base_url=http://localhost:1", "machine"),
        ("local.sample_batch_size=8", "machine"),
        ("local.micro_batch_tokens=128", "machine"),
        ("local.dtype=float32", "machine"),
        ("training.checkpoint_every=3", "machine"),
        ("evaluation.workers=7", "machine"),
        ("evaluation.concurrency=7", "machine"),
        ("training.learning_rate=0.1", "learning"),
        ("training.early_stopping={patience: 2}", "learning"),
        ("lora.rank=4", "learning"),
        ("local.lora_dropout=0.1", "learning"),
        ("evaluation.timeout=9", "measuring"),
        ("evaluation.max_new_tokens=9", "measuring"),
        ("evaluation.retry={}", "measuring"),
        ("seed=4", "both"),
        ("data.limit=4", "both"),
        ("prompt.schema_text.style=compact", "both"),
        ("local.quantization=nf4", "both"),
        ("fake.default_answer=no", "both"),
    ],
)
def test_every_kind_of_key(override: str, kind: str) -> None:
    extra = ["data.validation_size=4", "training.validate_every=2"] if "early_stopping" in override else []
    before = load_config(None, extra).model_dump(mode="json")
    (change,) = differences(before, load_config(None, [*extra, override]))
    assert change.about.changes == kind
    assert change.key == override.partition("=")[0].removesuffix(".model")


@pytest.mark.parametrize(
    ("strategy", "asked", "other"),
    [
        ("few-shot", "evaluation.few_shot.k=2", "evaluation.few_shot.k=5"),
        ("vote", "evaluation.self_consistency.samples=3", "evaluation.self_consistency.samples=9"),
        ("retry", "evaluation.retry.attempts=1", "evaluation.retry.attempts=7"),
    ],
)
def test_the_settings_of_a_strategy_are_about_its_own_evaluations(strategy: str, asked: str, other: str) -> None:
    (kind,) = (kind for kind in STRATEGIES if kind.name == strategy)
    before = load_config(None, [asked]).model_dump(mode="json")
    for after in ([other], []):
        (change,) = differences(before, load_config(None, after))
        assert set(change.about.evaluations) == {kind.label(model) for model in kind.models}


def test_a_key_that_is_no_more_is_a_difference_that_counts() -> None:
    (change,) = differences({**OLD, "later": 1}, load_config(None))
    assert str(change) == "later was 1, is null" and change.learnt and change.measured
