"""A backend without tensors: it memorises completions.

Its model is a table from prompts to completions. Training on a datum puts it into the table at the next optimiser
step; of answers with advantages, the best one if its advantage is positive. Sampling looks the prompt up, and at a
temperature above 0 draws from the completions known for the prompt. Losses, order of calls, snapshots, checkpoints and
errors follow `backends.interface`, so the loop, the pipeline and the command line can be tested in milliseconds against
a model whose answers are known.
"""

from __future__ import annotations

import json
import math
import random
import tempfile
import uuid
from collections.abc import Generator
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import tinker
from tinker import types
from tinker.lib.public_interfaces.api_future import AwaitableConcurrentFuture
from tinker.types.topk_logprobs import MASK_LOGPROB, TopkLogprobs

from backends.byte_tokenizer import ByteTokenizer
from backends.capabilities import BACKENDS
from backends.checkpoint_paths import SEGMENTS, CheckpointPath, Kind
from backends.facts import BackendFacts
from backends.interface import BackendError
from backends.options import BackendOptions, FakeOptions

if TYPE_CHECKING:
    from backends.interface import CustomLoss

T = TypeVar("T")
# Completions by prompt, both as token ids; the prompt as text, separated by spaces.
Completions = dict[str, list[int]]
# Log-probability of a target that has not been memorised: that of a guess among 256 bytes.
GUESS_LOGPROB = -math.log(256)


def _done(value: T) -> tinker.APIFuture[T]:
    future: Future[T] = Future()
    future.set_result(value)
    return AwaitableConcurrentFuture(future)


def _failed(error: Exception) -> tinker.APIFuture[T]:
    future: Future[T] = Future()
    future.set_exception(error)
    return AwaitableConcurrentFuture(future)


def _key(tokens: list[int]) -> str:
    return " ".join(map(str, tokens))


@dataclass(frozen=True)
class _State:
    """The contents of a checkpoint."""

    base_model: str
    table: Completions
    steps: int


class FakeSamplingClient:
    """Looks prompts up in a table."""

    def __init__(self, table: Completions, options: FakeOptions) -> None:
        encode = ByteTokenizer().encode
        self._table = table
        self._default = encode(options.default_answer)
        self._samples = {_key(encode(prompt)): [*map(encode, texts)] for prompt, texts in options.samples.items()}

    def sample(
        self,
        prompt: types.ModelInput,
        num_samples: int,
        sampling_params: types.SamplingParams,
        include_prompt_logprobs: bool = False,
        topk_prompt_logprobs: int = 0,
        *,
        prompt_logprobs_last_n: int | None = None,
    ) -> tinker.APIFuture[types.SampleResponse]:
        """The completion memorised for the prompt, or one drawn by seed, cut at the stop strings and at `max_tokens`.

        It returns at most one likely token at each position of the prompt, however many are requested.
        """
        known = self._table.get(_key(prompt.to_ints()))
        choices = [known if known is not None else self._default]
        if sampling_params.temperature > 0 and (configured := self._samples.get(_key(prompt.to_ints()))):
            choices = [*([known] if known is not None else []), *configured]
        drawn = random.Random(sampling_params.seed).choices(choices, k=num_samples)
        sequences = [_cut(completion, sampling_params, len(choices)) for completion in drawn]
        if not include_prompt_logprobs:
            return _done(types.SampleResponse(sequences=sequences))
        tokens = prompt.to_ints()
        expected, scores = self._scores(tokens, prompt_logprobs_last_n)
        ids = np.zeros((len(tokens), min(topk_prompt_logprobs, 1)), dtype=np.int32)
        top = np.full(ids.shape, MASK_LOGPROB, dtype=np.float32)
        for position, token in enumerate(expected):
            if token is not None and not np.isnan(scores[position]):
                ids[position], top[position] = token, 0.0
        likeliest = TopkLogprobs(token_ids=ids, logprobs=top) if topk_prompt_logprobs else None
        return _done(
            types.SampleResponse(sequences=sequences, prompt_logprobs_np=scores, topk_prompt_logprobs_np=likeliest)
        )

    def _scores(self, tokens: list[int], last: int | None) -> tuple[list[int | None], np.ndarray]:
        """The expected token at each position, and log-probabilities ``[T]`` of the last N tokens, NaN before them."""
        expected, first = self._expected(tokens), len(tokens) - (last or len(tokens) - 1)
        scores = np.full(len(tokens), np.nan, dtype=np.float32)
        for position in range(first, len(tokens)):
            scores[position] = 0.0 if expected[position] == tokens[position] else GUESS_LOGPROB
        return expected, scores

    def _expected(self, tokens: list[int]) -> list[int | None]:
        """At each position the token of a memorised completion, if its prompt and beginning precede it."""
        expected: list[int | None] = [None] * len(tokens)
        key = ""
        for position, token in enumerate(tokens):
            key = f"{key} {token}" if key else str(token)
            for target, completion_token in enumerate(self._table.get(key, ()), position + 1):
                if target >= len(tokens):
                    break
                expected[target] = completion_token
                if completion_token != tokens[target]:
                    break
        return expected

    def stream(
        self, prompt: types.ModelInput, sampling_params: types.SamplingParams
    ) -> Generator[int, None, types.SampleResponse]:
        """The tokens of `sample` one by one; the generator returns its response."""
        response = self.sample(prompt, 1, sampling_params).result()
        yield from response.sequences[0].tokens
        return response

    def compute_logprobs(
        self, prompt: types.ModelInput, prompt_logprobs_last_n: int | None = None
    ) -> tinker.APIFuture[list[float | None]]:
        """Log-probability 0 for memorised completions of a prompt, that of a guess among 256 for other tokens."""
        _, scores = self._scores(prompt.to_ints(), prompt_logprobs_last_n)
        return _done([None if np.isnan(score) else float(score) for score in scores])

    def get_tokenizer(self) -> ByteTokenizer:
        """The byte tokenizer."""
        return ByteTokenizer()


def _cut(completion: list[int], params: types.SamplingParams, choices: int) -> types.SampledSequence:
    """A completion up to its stop; its first token has probability one over `choices`, the others are certain."""
    whole = [*completion, ByteTokenizer.eos_token_id]
    stops = [params.stop] if isinstance(params.stop, str) else list(params.stop or [])
    tokens, stopped = whole, True
    for end in range(1, len(whole) + 1):
        text = ByteTokenizer().decode(whole[:end])
        if whole[end - 1] == ByteTokenizer.eos_token_id or any(isinstance(s, str) and s in text for s in stops):
            tokens = whole[:end]
            break
        if end == params.max_tokens:
            tokens, stopped = whole[:end], False
            break
    logprobs = np.zeros(len(tokens), dtype=np.float32)
    logprobs[0] = -math.log(choices)
    return types.SampledSequence(
        stop_reason="stop" if stopped else "length",
        sequence_id=uuid.uuid4().hex,
        tokens_np=np.asarray(tokens, dtype=np.int32),
        logprobs_np=logprobs,
    )


class FakeTrainingClient:
    """Memorises completions at each optimiser step."""

    def __init__(
        self, service: FakeServiceClient, model_id: str, base_model: str, table: Completions, steps: int = 0
    ) -> None:
        self.model_id = model_id
        self._service = service
        self._base_model = base_model
        self._table = table
        self._steps = steps
        self._pending: Completions | None = None

    def forward(
        self, data: list[types.Datum], loss_fn: str, loss_fn_config: dict[str, float] | None = None
    ) -> tinker.APIFuture[types.ForwardBackwardOutput]:
        """Log-probability 0 for prompts that have been memorised, that of a guess among 256 for others."""
        if not data:
            raise ValueError("No data provided")
        total, outputs = 0.0, []
        for datum in data:
            prompt, _ = _prompt_and_completion(datum)
            weights = _weights(datum)
            logprobs = np.full(len(weights), 0.0 if _key(prompt) in self._table else GUESS_LOGPROB, dtype=np.float32)
            total -= float((weights * logprobs).sum())
            outputs.append({"logprobs": types.TensorData.from_numpy(logprobs)})
        return _done(types.ForwardBackwardOutput("ArrayRecord", outputs, {"loss:sum": total}))

    def forward_backward(
        self, data: list[types.Datum], loss_fn: str, loss_fn_config: dict[str, float] | None = None
    ) -> tinker.APIFuture[types.ForwardBackwardOutput]:
        """The loss; the data are memorised at the next optimiser step."""
        output = self.forward(data, loss_fn, loss_fn_config)
        # The best of a group comes last, so that it stays; one without a positive weight is not memorised.
        ordered = sorted(data, key=lambda datum: float(_weights(datum).max(initial=0.0)))
        pairs = [_prompt_and_completion(datum) for datum in ordered if _weights(datum).max(initial=0.0) > 0]
        self._pending = {**(self._pending or {}), **{_key(prompt): completion for prompt, completion in pairs}}
        return output

    def forward_backward_custom(
        self, data: list[types.Datum], loss_fn: CustomLoss
    ) -> tinker.APIFuture[types.ForwardBackwardOutput]:
        """The loss; data whose log-probability it would increase are memorised at the next optimiser step."""
        # Imported here, since most uses of this backend need no tensors.
        import torch

        output = self.forward(data, "cross_entropy").result()
        leaves = [record["logprobs"].to_torch().requires_grad_() for record in output.loss_fn_outputs]
        loss, metrics = loss_fn(data, leaves)
        gradients = torch.autograd.grad(loss, leaves)
        wanted = [datum for datum, gradient in zip(data, gradients, strict=True) if float(gradient.sum()) < 0]
        self._pending = {**(self._pending or {}), **{_key(p): c for p, c in map(_prompt_and_completion, wanted)}}
        sums = {**metrics, "loss:sum": float(loss.detach())}
        return _done(types.ForwardBackwardOutput("ArrayRecord", output.loss_fn_outputs, sums))

    def optim_step(self, optim_params: types.AdamParams) -> tinker.APIFuture[types.OptimStepResponse]:
        """Memorise the data since the last step."""
        if self._pending is None:
            return _failed(ValueError("optim_step needs a forward_backward since the last step."))
        grad_norm = float(len(self._pending))
        self._table, self._pending, self._steps = {**self._table, **self._pending}, None, self._steps + 1
        return _done(types.OptimStepResponse(metrics={"grad_norm:mean": grad_norm}))

    def save_state(
        self, name: str, ttl_seconds: int | None = None, overwrite: bool = False
    ) -> tinker.APIFuture[types.SaveWeightsResponse]:
        """Save the table and the step count."""
        return _done(types.SaveWeightsResponse(path=self._save("training", name)))

    def save_weights_for_sampler(
        self, name: str, ttl_seconds: int | None = None
    ) -> tinker.APIFuture[types.SaveWeightsForSamplerResponse]:
        """Save the table."""
        return _done(types.SaveWeightsForSamplerResponse(path=self._save("sampler", name)))

    def _save(self, kind: Kind, name: str) -> str:
        path = str(CheckpointPath(self.model_id, kind, name))
        state = _State(self._base_model, self._table, self._steps)
        file = self._service.file(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(state)))
        return path

    def save_weights_and_get_sampling_client(self, name: str | None = None) -> tinker.APIFuture[FakeSamplingClient]:
        """A snapshot of the table."""
        return _done(FakeSamplingClient(dict(self._table), self._service.options))

    def get_info(self) -> types.GetInfoResponse:
        """The model's id and base model."""
        data = types.ModelData(arch="fake", model_name=self._base_model)
        return types.GetInfoResponse(model_id=self.model_id, model_data=data, is_lora=True, lora_rank=1)

    def get_tokenizer(self) -> ByteTokenizer:
        """The byte tokenizer."""
        return ByteTokenizer()


class FakeServiceClient:
    """Creates clients that memorise completions."""

    capabilities = BACKENDS["fake"].capabilities

    def __init__(self, options: BackendOptions | None = None, *, checkpoints: Path | None = None) -> None:
        self.options = FakeOptions.read(options)
        self._root = checkpoints or Path(tempfile.mkdtemp(prefix="text2sql-"))
        self._session = uuid.uuid4().hex[:8]
        self._models = 0

    def file(self, path: str) -> Path:
        """The file of a ``tinker://`` path."""
        parsed = CheckpointPath.parse(path)
        return self._root / parsed.run.replace(":", "-") / f"{parsed.checkpoint_id}.json"

    def describe(self) -> BackendFacts:
        """No facts: there is nothing to choose."""
        return BackendFacts()

    def describe_training(self, base_model: str, rank: int, **flags: bool) -> None:
        """None: there are no modules to train."""
        return None

    def check_model(self, base_model: str) -> None:
        """Do nothing: any model name is accepted."""

    def get_server_capabilities(self) -> types.GetServerCapabilitiesResponse:
        """No models: any name is accepted."""
        return types.GetServerCapabilitiesResponse(supported_models=[])

    def create_lora_training_client(
        self, base_model: str, rank: int = 32, **flags: object
    ) -> tinker.APIFuture[FakeTrainingClient]:
        """A client that knows only the configured answers."""
        return _done(FakeTrainingClient(self, self._next_id(), base_model, self._configured_answers()))

    def create_training_client_from_state(self, path: str) -> tinker.APIFuture[FakeTrainingClient]:
        """A client with the saved table."""
        try:
            state = self._load(path)
        except BackendError as error:
            return _failed(error)
        return _done(FakeTrainingClient(self, self._next_id(), state.base_model, state.table, state.steps))

    create_training_client_from_state_with_optimizer = create_training_client_from_state

    def create_sampling_client(
        self, model_path: str | None = None, base_model: str | None = None
    ) -> tinker.APIFuture[FakeSamplingClient]:
        """A sampling client of a saved table, or of the configured answers."""
        if model_path is None and base_model is None:
            raise ValueError("Either model_path or base_model must be given.")
        table = self._configured_answers()
        if model_path is not None:
            try:
                table = self._load(model_path).table
            except BackendError as error:
                return _failed(error)
        return _done(FakeSamplingClient(table, self.options))

    def create_rest_client(self) -> FakeServiceClient:
        """This object, which has the methods of a REST client too."""
        return self

    def list_checkpoints(self, training_run_id: str) -> tinker.APIFuture[types.CheckpointsListResponse]:
        """The tables that a client has saved."""
        checkpoints = []
        for kind in SEGMENTS:
            for file in sorted(self.file(str(CheckpointPath(training_run_id, kind, "x"))).parent.glob("*.json")):
                path = CheckpointPath(training_run_id, kind, file.stem)
                checkpoints.append(
                    types.Checkpoint(
                        checkpoint_id=path.checkpoint_id,
                        checkpoint_type=kind,
                        tinker_path=str(path),
                        time=datetime.fromtimestamp(file.stat().st_mtime, UTC),
                    )
                )
        return _done(types.CheckpointsListResponse(checkpoints=checkpoints))

    def get_weights_info_by_tinker_path(self, tinker_path: str) -> tinker.APIFuture[types.WeightsInfoResponse]:
        """The base model of a saved table."""
        try:
            state = self._load(tinker_path)
        except BackendError as error:
            return _failed(error)
        return _done(types.WeightsInfoResponse(base_model=state.base_model, is_lora=True, lora_rank=1))

    def delete_checkpoint_from_tinker_path(self, tinker_path: str) -> tinker.APIFuture[None]:
        """Delete a saved table."""
        self.file(tinker_path).unlink(missing_ok=True)
        return _done(None)

    def close(self, status: str = "success") -> None:
        """Nothing to release."""

    def _load(self, path: str) -> _State:
        try:
            return _State(**json.loads(self.file(path).read_text()))
        except OSError as error:
            raise BackendError(f"There is no checkpoint {path} ({self.file(path)}).") from error
        except (ValueError, TypeError) as error:
            raise BackendError(f"The checkpoint {path} ({self.file(path)}) is damaged: {error}") from error

    def _configured_answers(self) -> Completions:
        encode = ByteTokenizer().encode
        return {_key(encode(prompt)): encode(completion) for prompt, completion in self.options.answers.items()}

    def _next_id(self) -> str:
        self._models += 1
        return f"{self._session}:train:{self._models - 1}"


def _weights(datum: types.Datum) -> np.ndarray:
    """The weights of a datum's targets, or their advantages."""
    name = "weights" if "weights" in datum.loss_fn_inputs else "advantages"
    return datum.loss_fn_inputs[name].to_numpy()


def _prompt_and_completion(datum: types.Datum) -> tuple[list[int], list[int]]:
    """A datum's tokens before and from its first weighted target."""
    weights = _weights(datum)
    targets = [int(t) for t in datum.loss_fn_inputs["target_tokens"].to_numpy()]
    first = int(np.flatnonzero(weights)[0]) if weights.any() else len(targets)
    return datum.model_input.to_ints()[: first + 1], targets[first:]
