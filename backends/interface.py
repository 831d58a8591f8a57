"""The interface that every backend implements: Tinker's verbs, with Tinker's types and Tinker's semantics.

The types are `tinker.types`; nothing here needs torch. Source: the Tinker SDK and its documentation
(https://tinker-docs.thinkingmachines.ai). What holds for every backend:

- **Order.** Calls return a future at once. The calls of one training client take effect in the order of submission,
  so an optimiser step may be submitted before the gradients that it uses have been computed.
- **Data.** A `types.Datum` has ``model_input`` of T tokens and, in ``loss_fn_inputs``, tensors of shape ``[T]``:
  ``target_tokens`` (int64) and ``weights`` (float32) for ``cross_entropy``. Position ``i`` of ``target_tokens`` is the
  token predicted *at* position ``i`` of the input: the caller has shifted already. T may differ from datum to datum.
- **Loss.** A loss is the *sum* over data and tokens, never a mean, in nats. `cross_entropy` is
  ``-(weights * logprobs).sum()``; its value is in ``metrics["loss:sum"]``. ``loss_fn_outputs[n]["logprobs"]`` of the
  n-th datum is float32 ``[T]``.
- **Gradients** accumulate over any number of `forward_backward` calls; `optim_step` applies AdamW with the
  hyperparameters given in that call, and clears them. Parts therefore equal the whole.
- **Sampling clients are snapshots**: later training does not change what they sample.
- **Temperature 0 is greedy.** Sampled tokens include the stop token, or the tokens that complete a stop string;
  `logprobs`, one for each sampled token, are those of the temperature-scaled distribution.
- **Errors.** A call that cannot be carried out raises at once or from the future's `result()`: `ValueError` for an
  argument that is wrong on its face (of a server `tinker.BadRequestError`, or, in the order of a model's calls,
  `tinker.RequestFailedError`), `tinker.RequestFailedError` when carrying it out failed, `BackendError` for what a
  person must fix (a model that is not there, a device that is absent, a checkpoint of another model).

Beyond Tinker's verbs a service client has `capabilities`, `describe`, `describe_training` and `check_model`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from backends.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from concurrent import futures

    from tinker import types
    from torch import Tensor

    from backends.capabilities import Capabilities
    from backends.facts import BackendFacts, TrainingFacts
    from backends.tokenizer import Tokenizer

    # From data and the log-probabilities of each one's targets to a loss, and metrics.
    CustomLoss = Callable[[list[types.Datum], list[Tensor]], tuple[Tensor, dict[str, float]]]

T_co = TypeVar("T_co", covariant=True)

Status = Literal["success", "errored", "interrupted"]


class BackendError(Exception):
    """What a person must fix: the message says what is wrong and what to do; passwords in it are masked."""

    def __init__(self, message: str = "") -> None:
        super().__init__(redact(message))


class NonFiniteGradient(ValueError):
    """The accumulated gradient has a value that is not finite; the optimiser step was not applied."""


class Future(Protocol[T_co]):
    """The part of `tinker.APIFuture` that this project uses; awaiting it works too."""

    def result(self, timeout: float | None = None) -> T_co:
        """Wait for the result.

        Args:
            timeout: Seconds to wait at most; None waits for as long as it takes.

        Raises:
            TimeoutError: There is no result yet. The call goes on.
            Exception: Whatever the call failed with; see "Errors" above.
        """
        ...

    def future(self) -> futures.Future[Any]:
        """The same as a `concurrent.futures.Future`: to be called back when it is done, or to cancel it."""
        ...


class SamplingClient(Protocol):
    """One frozen set of weights to sample from."""

    def sample(
        self,
        prompt: types.ModelInput,
        num_samples: int,
        sampling_params: types.SamplingParams,
        include_prompt_logprobs: bool = False,
        topk_prompt_logprobs: int = 0,
        *,
        prompt_logprobs_last_n: int | None = None,
    ) -> Future[types.SampleResponse]:
        """Sample continuations of a prompt; concurrent calls may share a batch.

        Args:
            prompt: The token ids to continue, at least one.
            num_samples: How many continuations.
            sampling_params: Length in tokens, temperature, top-k, top-p, stop strings or tokens, and a seed. The same
                seed in the same company of calls gives the same tokens.
            include_prompt_logprobs: Also return the log-probability of each prompt token, as `compute_logprobs` does.
            topk_prompt_logprobs: Also return this many most probable tokens at each position of the prompt.
            prompt_logprobs_last_n: Both of the prompt's last N tokens alone; what stands before them may be kept, and
                costs nothing when it is asked about again.

        Returns:
            A response with ``sequences``: ``tokens`` and ``logprobs`` of equal length, and a ``stop_reason``, which is
            ``stop`` or, where ``max_tokens`` cut the answer off, ``length``.

        Raises:
            ValueError: (From the future) the prompt is empty or too long for the model, or a parameter is out of range.
        """
        ...

    def compute_logprobs(
        self, prompt: types.ModelInput, prompt_logprobs_last_n: int | None = None
    ) -> Future[list[float | None]]:
        """Log-probability, in nats, of each prompt token given those before it.

        Args:
            prompt: The token ids.
            prompt_logprobs_last_n: Only of the last N tokens; None for all.

        Returns:
            One value for each token; the first is None, since nothing precedes it, and so are those not asked about.
        """
        ...

    def get_tokenizer(self) -> Tokenizer:
        """The tokenizer of the base model."""
        ...


class StreamingSamplingClient(SamplingClient, Protocol):
    """A sampling client of a backend whose capabilities say `streams`."""

    def stream(
        self, prompt: types.ModelInput, sampling_params: types.SamplingParams
    ) -> Generator[int, None, types.SampleResponse]:
        """Yield the token ids of one continuation as they are sampled; the generator returns what `sample` would.

        Closing the generator ends the sampling.
        """
        ...


class TrainingClient(Protocol):
    """One set of trained weights (a LoRA adapter, or with the local backend every weight) with its optimiser."""

    def forward(
        self, data: Sequence[types.Datum], loss_fn: str, loss_fn_config: dict[str, float] | None = None
    ) -> Future[types.ForwardBackwardOutput]:
        """The loss and the log-probability of every target, without gradients.

        Args:
            data: At least one datum with the inputs that the loss needs.
            loss_fn: Name of a loss, for example ``cross_entropy``.
            loss_fn_config: Settings of the loss, by name; its defaults when None.

        Returns:
            ``metrics["loss:sum"]`` (nats, summed over data and tokens) and, for each datum in order,
            ``loss_fn_outputs[n]["logprobs"]``, float32 ``[T]``.

        Raises:
            ValueError: (From the call or its future) there are no data, the loss is unknown, an input is missing or of
                another length than the tokens.
        """
        ...

    def forward_backward(
        self, data: Sequence[types.Datum], loss_fn: str, loss_fn_config: dict[str, float] | None = None
    ) -> Future[types.ForwardBackwardOutput]:
        """What `forward` returns, and the gradient of the loss added to what has accumulated.

        Raises:
            ValueError: As `forward`.
        """
        ...

    def forward_backward_custom(
        self, data: list[types.Datum], loss_fn: CustomLoss
    ) -> Future[types.ForwardBackwardOutput]:
        """As `forward_backward`, with a loss of one's own, from data and one tensor ``[T]`` for each to a loss."""
        ...

    def optim_step(self, optim_params: types.AdamParams) -> Future[types.OptimStepResponse]:
        """One AdamW step with the accumulated gradient, which is cleared.

        Args:
            optim_params: Learning rate, betas, eps, decoupled weight decay, and the norm to clip the gradient to (0
                does not clip).

        Returns:
            ``metrics["grad_norm:mean"]``, where the backend measures it: the global norm of the accumulated gradient
            before clipping.

        Raises:
            ValueError: (From the future) nothing has accumulated, or a hyperparameter is out of range.
            NonFiniteGradient: (From the future) the gradient is not finite; no weight has changed.
        """
        ...

    def save_state(
        self, name: str, ttl_seconds: int | None = None, overwrite: bool = False
    ) -> Future[types.SaveWeightsResponse]:
        """Save weights and optimiser, to go on training with.

        Args:
            name: Letters, digits, dots, hyphens and underscores.
            ttl_seconds: Seconds from now after which a server deletes it (`backends.checkpoint_paths.check_ttl` has the
                limits); None keeps it.
            overwrite: Replace a checkpoint of the same name instead of refusing.

        Returns:
            A response whose `path` is ``tinker://RUN/weights/NAME``.
        """
        ...

    def save_weights_for_sampler(
        self, name: str, ttl_seconds: int | None = None
    ) -> Future[types.SaveWeightsForSamplerResponse]:
        """Save the weights alone, for sampling; `path` is ``tinker://RUN/sampler_weights/NAME``."""
        ...

    def save_weights_and_get_sampling_client(self, name: str | None = None) -> Future[SamplingClient]:
        """A sampling client of the weights as they are at this point of the order."""
        ...

    def get_info(self) -> types.GetInfoResponse:
        """The model's id, base model and LoRA rank."""
        ...

    def get_tokenizer(self) -> Tokenizer:
        """The tokenizer of the base model, as `SamplingClient.get_tokenizer`."""
        ...


class RestClient(Protocol):
    """Housekeeping on stored checkpoints."""

    def list_checkpoints(self, training_run_id: str) -> Future[types.CheckpointsListResponse]:
        """The checkpoints of one training client, by its `model_id`."""
        ...

    def get_weights_info_by_tinker_path(self, tinker_path: str) -> Future[types.WeightsInfoResponse]:
        """Base model and adapter of a checkpoint.

        Raises:
            BackendError: (From the future) there is no such checkpoint in the backend's directory.
            tinker.APIStatusError: (From the future) the server has no such checkpoint, or refuses the key.
        """
        ...

    def delete_checkpoint_from_tinker_path(self, tinker_path: str) -> Future[None]:
        """Delete the checkpoint that the path names."""
        ...


class ServiceClient(Protocol):
    """The way in: makes training and sampling clients.

    Attributes:
        capabilities: What this backend can do; the record that `backends.capabilities.BACKENDS` has under its name.
    """

    capabilities: Capabilities

    def describe(self) -> BackendFacts:
        """What the backend has chosen so far, for the record of a run; a remote server does not say."""
        ...

    def describe_training(
        self, base_model: str, rank: int, *, train_attn: bool, train_mlp: bool, train_unembed: bool
    ) -> TrainingFacts | None:
        """What a training client with these flags would train, before there is one; None where a server does not say.

        Raises:
            BackendError: A flag selects something that the model does not have, or that cannot be adapted.
        """
        ...

    def check_model(self, base_model: str) -> None:
        """Refuse a model that the backend does not offer, before any work is put into it.

        Raises:
            BackendError: It is not offered, and the message names the nearest that are. A backend that loads models
                when they are first asked for says so then.
        """
        ...

    def get_server_capabilities(self) -> types.GetServerCapabilitiesResponse:
        """The models that can be trained and sampled, with their context lengths in tokens where these are known."""
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
        """A new adapter on `base_model`: A random from `seed`, B zero.

        Args:
            base_model: Hub id, directory or packaged name, as the backend knows it.
            rank: Rank of every pair of matrices, at least 1.
            seed: Of the matrices A; random when None.
            train_mlp: Adapt the MLP projections.
            train_attn: Adapt the attention projections.
            train_unembed: Adapt the output layer.
            user_metadata: Kept with the run by a server.

        Raises:
            ValueError: The rank is not positive, or every `train_*` flag is off.
            BackendError: (From the future) the base model cannot be loaded.
        """
        ...

    def create_training_client_from_state(self, path: str) -> Future[TrainingClient]:
        """A training client with saved weights and a fresh optimiser.

        Raises:
            BackendError: (From the future) the checkpoint is missing, damaged, or one for sampling.
        """
        ...

    def create_training_client_from_state_with_optimizer(self, path: str) -> Future[TrainingClient]:
        """A training client that continues exactly where the saved one was (errors as without the optimiser)."""
        ...

    def create_sampling_client(
        self, model_path: str | None = None, base_model: str | None = None
    ) -> Future[SamplingClient]:
        """A sampling client of saved weights, or of the bare base model.

        Args:
            model_path: ``tinker://`` path of a checkpoint for sampling.
            base_model: The base model, where no path is given.

        Raises:
            ValueError: Neither is given.
            BackendError: (From the future) the checkpoint or the model cannot be loaded.
        """
        ...

    def create_rest_client(self) -> RestClient:
        """Housekeeping on stored checkpoints."""
        ...

    def close(self, status: Status) -> Future[None] | None:
        """Release what the backend holds; unfinished work is cancelled.

        Args:
            status: How the work ended, for a server's log.

        Returns:
            A `Future` that is done when a server has heard of it; None where there is no server.
        """
        ...
