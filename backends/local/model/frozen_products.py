"""Matrix products with frozen weights on a CPU: in the dtype of `local.matmul`, by the library that is fastest.

In bfloat16 a frozen weight is stored in bfloat16, and the input of its product is rounded to bfloat16; the product
accumulates in float32, and its result is rounded once more before the computation continues in float32. Adapters,
norms, softmax, the output layer and so the logits, the loss and the optimiser are float32. The weights of a model that
was released in bfloat16 lose nothing.

In float32 PyTorch multiplies with MKL, which takes slower code on processors of other makers than its own: there oneDNN
is faster, on an AMD EPYC by 5 to 25 % for the shapes of a training step. The maker decides, and no measurement, so that
a run that is resumed computes to the bit what it did before.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from backends.planning.matmul_rates import processor


class FrozenLinear(nn.Linear):
    """A linear layer of float32 inputs and outputs whose weight, float32 or bfloat16, gets no gradient."""

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
    if weight.dtype != torch.float32:
        y = torch.mm(x, weight)
        return y.float() if plus is None else plus + y
    if x.device.type == "cpu" and prefers_onednn():
        return _onednn_product(x, weight, plus)
    return torch.mm(x, weight) if plus is None else torch.addmm(plus, x, weight)


def _onednn_product(x: Tensor, weight: Tensor, plus: Tensor | None) -> Tensor:
    y: Tensor
    if plus is not None and plus.dim() == 2:
        y = torch.ops.mkldnn._linear_pointwise.binary(x, plus, weight.t(), None, "add")
    else:
        y = torch.ops.mkldnn._linear_pointwise(x, weight.t(), plus, "none", [], "")
    return y


@cache
def prefers_onednn() -> bool:
    """Whether oneDNN multiplies float32 faster than PyTorch's own product does."""
    return torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available() and "AMD" in processor()


def freeze_linear_layers(model: Any, dtype: torch.dtype) -> None:
    """Turn the linear layers of a float32 model on a CPU, none of whose weights is trained, into frozen ones, in place.

    Their weights are stored in `dtype`. With bfloat16 the output layer is left as it is: it keeps float32, as logits
    need more than bfloat16's eight bits, and shares its weight with the input embedding in many models.
    """
    head = model.get_output_embeddings()
    for module in model.modules():
        if type(module) is nn.Linear and (module is not head or dtype == torch.float32):
            module.__class__ = FrozenLinear
            if module.weight.dtype != dtype:
                module.weight = nn.Parameter(module.weight.detach().to(dtype), requires_grad=False)
    if dtype != torch.float32:
        # Unchanged weights are views of the mapped file, which stays in memory while any of it is used.
        for parameter in model.parameters():
            if parameter.dtype == torch.float32:
                parameter.data = parameter.data.clone()
