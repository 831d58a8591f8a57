"""The loss scale of float16: it falls where a gradient overflows, and rises again."""

from __future__ import annotations

import pytest
import torch

from backends.local.model import loss_scale
from backends.local.model.loss_scale import INITIAL_SCALE, LossScale

OVERFLOWN = [torch.tensor([1.0, float("inf")])]


def _pass(scale: LossScale) -> list[float]:
    gradients = [torch.tensor([3.0, -0.5]) * scale.value]
    assert scale.undo(gradients)
    return [float(value) for value in gradients[0]]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_scale, "GROWTH_INTERVAL", 3)


def test_it_falls_and_rises_as_torchs_does() -> None:
    """Step by step the scale of `torch.amp.GradScaler` with the same interval."""
    ours, theirs = LossScale(torch.float16), torch.amp.GradScaler("cpu", growth_interval=3)
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    for overflows in (False, True, True, *[False] * 7, True, *[False] * 4):
        loss = theirs.scale((weight * (float("inf") if overflows else 1.0)).sum())
        optimizer.zero_grad()
        loss.backward()
        theirs.step(optimizer)
        theirs.update()
        if overflows:
            assert not ours.undo([torch.tensor([float("inf")])])
        else:
            _pass(ours)
        assert ours.value == theirs.get_scale()


def test_undone_exactly() -> None:
    scale = LossScale(torch.float16)
    assert [_pass(scale) for _ in range(7)] == [[3.0, -0.5]] * 7
    assert scale.value == INITIAL_SCALE * 4


def test_numbers_that_no_scale_helps_are_passed_on() -> None:
    scale = LossScale(torch.float16)
    tries = 0
    while not scale.undo(OVERFLOWN):
        tries += 1
    assert (tries, scale.value) == (16, 1.0)
    for _ in range(3):
        _pass(scale)
    assert scale.value == 2.0


def test_other_dtypes_have_none() -> None:
    scale = LossScale(torch.bfloat16)
    for _ in range(5):
        _pass(scale)
    assert scale.value == 1.0 and scale.undo(OVERFLOWN)
