"""The interface that every backend implements: Tinker's verbs, with Tinker's types and Tinker's semantics.

The types are `tinker.types`; nothing here needs torch. What holds for every backend:

- **Order.** Calls return a future at once. The calls of one training client take effect in the order of submission,
  so an optimiser step may be submitted before the gradients that it uses have been computed.
- **Loss.** A loss is the *sum* over data and tokens, never a mean. `cross_entropy` is ``-(weights * logprobs).sum()``;
  its value is in ``metrics["loss:sum"]``. Position ``i`` of ``target_tokens`` is the token predicted *at* position
  ``i`` of the input: the caller has shifted already.
- **Gradients** accumulate over any number of `forward_backward` calls; `optim_step` applies AdamW with the
  hyperparameters given in that call, and clears them. Parts therefore equal the whole.
- **Sampling clients are snapshots**: later training does not change what they sample.
- **Temperature 0 is greedy.** Sampled tokens include the stop token, or the tokens that complete a stop string;
  `logprobs` are those of the temperature-scaled distribution.
- **Errors.** A call that cannot be carried out raises from the future's `result()`: `ValueError` for an argument that
  is wrong on its face, `tinker.RequestFailedError` when carrying it out failed, `BackendError` for what a person must
  mend (a model that is not there, a device that is absent, a checkpoint of another model).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinker import types

T_co = TypeVar("T_co", covariant=True)


class BackendError(Exception):
    """What a person must mend: the message says what is wrong and what to do."""


class NonFiniteGradient(ValueError):
    """The accumulated gradient has a value that is not finite; the optimiser step was not applied."""


class Probe(NamedTuple):
    """A prompt and its answer: logits before and after a merge are compared where the answer is predicted."""

    prompt: str
    answer: str


class Future(Protocol[T_co]):
    """The part of `tinker.APIFuture` that this project uses; awaiting it works too."""

    def result(self, timeout: float | None = None) -> T_co:
        """Wait for the result, at most `timeout` seconds (`TimeoutError` after that)."""
        ...

    def future(self) -> Any:
        """The same as a `concurrent.futures.Future`: to be told when it is done, or to call it off."""
        ...


class SamplingClient(Protocol):
    """One frozen set of weights to sample from.

    A client whose attribute ``batched`` is true decodes the calls that are waiting together, in one batch; without the
    attribute, each call goes its own way.
    """

    def sample(
        self,
        prompt: types.ModelInput,
        num_samples: int,
        sampling_params: types.SamplingParams,
        include_prompt_logprobs: bool = False,
        topk_prompt_logprobs: int = 0,
    ) -> Future[types.SampleResponse]:
        """Sample `num_samples` continuations of the prompt; concurrent calls may share a batch."""
        ...

    def compute_logprobs(self, prompt: types.ModelInput) -> Future[list[float | None]]:
        """Log-probability of each prompt token given those before it; the first is None."""
        ...

    def get_tokenizer(self) -> Any:
        """The tokenizer of the base model (a Hugging Face `PreTrainedTokenizerBase`)."""
        ...


class TrainingClient(Protocol):
    """One LoRA adapter in training, with its optimiser."""

    def forward(
        self, data: Sequence[types.Datum], loss_fn: str, loss_fn_config: dict[str, float] | None = None
    ) -> Future[types.ForwardBackwardOutput]:
        """The loss and the log-probability of every target, without gradients."""
        ...

    def forward_backward(
        self, data: Sequence[types.Datum], loss_fn: str, loss_fn_config: dict[str, float] | None = None
    ) -> Future[types.ForwardBackwardOutput]:
        """The loss, and its gradient added to what has accumulated."""
        ...

    def optim_step(self, optim_params: types.AdamParams) -> Future[types.OptimStepResponse]:
        """One AdamW step with the accumulated gradient, which is cleared."""
        ...

    def save_state(
        self, name: str, ttl_seconds: int | None = None, overwrite: bool = False
    ) -> Future[types.SaveWeightsResponse]:
        """Save weights and optimiser; the response's `path` is a ``tinker://`` path. A remote one may expire."""
        ...

    def save_weights_for_sampler(
        self, name: str, ttl_seconds: int | None = None
    ) -> Future[types.SaveWeightsForSamplerResponse]:
        """Save the weights alone, for sampling."""
        ...

    def save_weights_and_get_sampling_client(self, name: str | None = None) -> Future[SamplingClient]:
        """A sampling client of the weights as they are at this point of the order."""
        ...

    def get_info(self) -> types.GetInfoResponse:
        """The model's id, base model and LoRA rank."""
        ...

    def get_tokenizer(self) -> Any:
        """The tokenizer of the base model."""
        ...


class RestClient(Protocol):
    """Housekeeping on stored checkpoints."""

    def list_checkpoints(self, training_run_id: str) -> Future[types.CheckpointsListResponse]:
        """The checkpoints of one training client, by its `model_id`."""
        ...

    def get_weights_info_by_tinker_path(self, tinker_path: str) -> Future[types.WeightsInfoResponse]:
        """Base model and adapter of a checkpoint."""
        ...

    def delete_checkpoint_from_tinker_path(self, tinker_path: str) -> Future[None]:
        """Delete the checkpoint that the path names."""
        ...


class ServiceClient(Protocol):
    """The way in: makes training and sampling clients."""

    def get_server_capabilities(self) -> types.GetServerCapabilitiesResponse:
        """The models that can be trained and sampled."""
        ...

    def create_lora_training_client(
        self,
        base_model: str,
        rank: int = 32,
        seed: int | None = None,
        train_mlp: bool = True,
        train_attn: bool = True,
        train_unembed: bool = True,
        user_metadata: dict[str, str] | None = None,
    ) -> Future[TrainingClient]:
        """A new adapter on `base_model`: A random from `seed`, B zero."""
        ...

    def create_training_client_from_state(self, path: str) -> Future[TrainingClient]:
        """A training client with saved weights and a fresh optimiser."""
        ...

    def create_training_client_from_state_with_optimizer(self, path: str) -> Future[TrainingClient]:
        """A training client that continues exactly where the saved one was."""
        ...

    def create_sampling_client(self, model_path: str | None = None, base_model: str | None = None) -> Any:
        """A sampling client of saved weights, or of the bare base model."""
        ...

    def create_rest_client(self) -> RestClient:
        """Housekeeping on stored checkpoints."""
        ...

    def close(self, status: str = "success") -> Any:
        """Release what the backend holds; unfinished work is cancelled."""
        ...
