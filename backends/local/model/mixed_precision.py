"""Products with frozen weights in bfloat16, everything else in float32: `local.matmul`.

A frozen weight is stored in bfloat16, and the input of its product is rounded to bfloat16; the product accumulates in
float32, and its result is rounded once more before the computation continues in float32. Adapters, norms, softmax, the
output layer and so the logits, the loss and the optimiser are float32. The weights of a model that was released in
bfloat16 lose nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Bfloat16Linear(nn.Linear):
    """A frozen linear layer of float32 inputs whose weight is stored, and multiplied, in bfloat16."""

    def forward(self, input: Tensor) -> Tensor:
        """``[..., in]`` to ``[..., out]``, float32."""
        y: Tensor = _Product.apply(input.reshape(-1, input.shape[-1]), self.weight)
        y = y.view(*input.shape[:-1], len(self.weight))
        return y if self.bias is None else y + self.bias


class _Product(torch.autograd.Function):
    """``x W^T`` of a frozen W."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.weight = weight
        return product(x.to(weight.dtype), weight.t())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        return product(dy.to(ctx.weight.dtype), ctx.weight), None


def product(x: Tensor, weight: Tensor, plus: Tensor | None = None) -> Tensor:
    """The float32 product of matrices of one dtype.

    Args:
        x: ``[T, in]``.
        weight: ``[in, out]``.
        plus: Summand, float32 ``[T, out]`` or ``[out]``.
    """
    if weight.dtype == torch.float32:
        return torch.mm(x, weight) if plus is None else torch.addmm(plus, x, weight)
    y = torch.mm(x, weight)
    return y.float() if plus is None else plus + y


def use_bfloat16(model: Any) -> None:
    """Store the weights of the frozen linear layers of a float32 model in bfloat16, except for the output layer.

    The output layer keeps float32, as logits need more than bfloat16's eight bits; it shares its weight with the input
    embedding in many models.
    """
    head = model.get_output_embeddings()
    for module in model.modules():
        if type(module) is nn.Linear and module is not head:
            module.weight = nn.Parameter(module.weight.detach().to(torch.bfloat16), requires_grad=False)
            module.__class__ = Bfloat16Linear
    # Unchanged weights are views of the mapped file, which stays in memory while any of it is used.
    for parameter in model.parameters():
        if parameter.dtype == torch.float32:
            parameter.data = parameter.data.clone()
