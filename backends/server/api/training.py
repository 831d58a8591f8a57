"""Sessions and training: what takes effect in the order of a model's sequence numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from pydantic_core import from_json
from tinker import types
from tinker.types.load_weights_request import LoadWeightsRequest
from tinker.types.save_weights_external_request import SaveWeightsExternalRequest
from tinker.types.save_weights_for_sampler_request import SaveWeightsForSamplerRequest
from tinker.types.save_weights_request import SaveWeightsRequest
from tinker.types.shared.untyped_api_future import UntypedAPIFuture

from backends.checkpoint_paths import CheckpointPath, check_name
from backends.local.resumable import Resumable
from backends.local.step.optim import check_optimizer
from backends.server import external_weights, split_calls, wire
from backends.server.api.json_body import read_model, require_json
from backends.server.api.request import hold, owner_of, parse, parsed, read_body, state_of
from backends.server.errors import ApiError, check_number
from backends.server.futures import Result
from backends.server.queues import ModelQueue, Work
from backends.server.state import ServerState, json_result
from backends.server.tables import ModelSpec, TrainingRun

router = APIRouter(prefix="/api/v1")
Body = TypeVar("Body", bound=BaseModel)


class Reason(BaseModel):
    """How a session ended."""

    type: str = "success"


class FinishRequest(BaseModel):
    """The end of a session."""

    reason: Reason = Reason()


class SaveForSampling(SaveWeightsForSamplerRequest):
    """The protocol's request, with what clients send since SDK 0.38, whichever is installed here."""

    kind: Literal["snapshot", "inflight"] = "snapshot"


@router.post("/create_session")
async def create_session(request: Request) -> types.CreateSessionResponse:
    """Open a session."""
    wanted = await parse(request, types.CreateSessionRequest)
    state = state_of(request)
    session = await state.recorded(state.open_session, owner_of(request), wanted)
    return types.CreateSessionResponse(session_id=session)


@router.post("/session_heartbeat")
async def session_heartbeat(request: Request) -> types.SessionHeartbeatResponse:
    """Keep a session open."""
    wanted = await parse(request, types.SessionHeartbeatRequest)
    state_of(request).session(owner_of(request), wanted.session_id)
    return types.SessionHeartbeatResponse()


@router.post("/sessions/{session}/finish")
async def finish(request: Request, session: str) -> Response:
    """Close a session."""
    wanted = await parse(request, FinishRequest, await read_body(request) or b"{}")
    state = state_of(request)
    await state.recorded(state.finish_session, owner_of(request), session, wanted.reason.type)
    return Response(status_code=204)


@router.post("/create_model")
async def create_model(request: Request) -> UntypedAPIFuture:
    """A new adapter."""
    state, owner = state_of(request), owner_of(request)
    wanted = await parse(request, types.CreateModelRequest)
    lora, most = wanted.lora_config or types.LoraConfig(rank=32), state.limits.lora_rank
    flags = {"train_attn": lora.train_attn, "train_mlp": lora.train_mlp, "train_unembed": lora.train_unembed}

    def make(model_id: str) -> Result:
        check_optimizer(wanted.optimizer_config)
        if not 0 < lora.rank <= most:
            raise ValueError(f"rank is {lora.rank}; this server allows 1 to {most}.")
        if lora.seed is not None and not 0 <= lora.seed < 2**63:
            raise ValueError(f"seed is {lora.seed}; it must be 0 or more and below 2 to the power of 63.")
        state.residency.create(model_id, state.served(wanted.base_model), rank=lora.rank, seed=lora.seed, **flags)
        return json_result({"type": "create_model", "model_id": model_id})

    # A rank that is refused may be too large for the database.
    rank = max(0, min(lora.rank, most))
    spec = ModelSpec(base_model=wanted.base_model, rank=rank, metadata=wanted.user_metadata, **flags)
    return await state.recorded(state.add_model, owner, wanted.session_id, wanted.model_seq_id, spec, make)


@router.post("/load_weights")
async def load_weights(request: Request) -> UntypedAPIFuture:
    """A model from a checkpoint: a new one, or (the older way) one that has just been created."""
    state, owner = state_of(request), owner_of(request)
    body = await read_body(request)
    if b'"session_id"' not in body:
        return await _ordered(request, LoadWeightsRequest, _load_in_place, body)
    wanted = await parse(request, LoadWeightsRequest, body)
    if wanted.session_id is None or wanted.model_seq_id is None:
        raise ApiError(400, "load_weights needs session_id and model_seq_id, or model_id and seq_id.")
    source: TrainingRun | None = None
    problem: ValueError | None = None
    try:
        source = state.source_of(wanted.path, owner, wanted.weights_access_token)
    except ValueError as error:
        # Raised again when the model is made: the client hears of it by the future.
        problem = error

    def make(model_id: str) -> Result:
        if source is None:
            assert problem is not None
            raise problem
        check_optimizer(wanted.optimizer_config)
        base_model = state.served(source.base_model)
        if wanted.base_model not in (None, base_model):
            raise ValueError(f'{wanted.path} was trained on "{base_model}", not on "{wanted.base_model}".')
        state.residency.restore(model_id, base_model, wanted.path, optimizer=wanted.optimizer)
        return json_result({"type": "load_weights", "path": wanted.path, "model_id": model_id})

    spec = ModelSpec.like(source, wanted.user_metadata)
    return await state.recorded(state.add_model, owner, wanted.session_id, wanted.model_seq_id, spec, make)


def _load_in_place(state: ServerState, queue: ModelQueue, wanted: LoadWeightsRequest) -> Work:
    def work() -> Result:
        state.source_of(wanted.path, queue.owner, wanted.weights_access_token)
        client = state.residency.model(queue.name)
        load = client.load_state_with_optimizer if wanted.optimizer else client.load_state
        load(wanted.path).result()
        return json_result({"type": "load_weights", "path": wanted.path, "model_id": queue.name})

    return work


@router.post("/get_info")
async def get_info(request: Request) -> types.GetInfoResponse:
    """What a model is."""
    state, owner = state_of(request), owner_of(request)
    wanted = await parse(request, types.GetInfoRequest)
    state.model_queue(owner, wanted.model_id)
    run = state.run(owner, wanted.model_id)
    base = state.residency.loaded(state.served(run.base_model))
    return types.GetInfoResponse(
        type="get_info",
        model_id=wanted.model_id,
        model_data=types.ModelData(
            arch=base.model.config.model_type, model_name=run.base_model, tokenizer_id=base.location
        ),
        is_lora=True,
        lora_rank=run.rank,
        model_name=run.base_model,
    )


@router.post("/forward_backward")
async def forward_backward(request: Request) -> UntypedAPIFuture:
    """Loss and log-probabilities, and unless `forward_only` the gradient."""
    state, owner = state_of(request), owner_of(request)
    try:
        body = await read_body(request, state.limits.request_bytes)
    except ApiError as refused:
        return _too_large(request, refused)
    encoding = request.headers.get("content-encoding", "")

    def parse_message(body: bytes) -> tuple[wire.ForwardBackwardMessage, int]:
        plain = wire.decompress(body, encoding, plain_size)
        wire.check_count(plain, state.limits.datums_per_request)
        return wire.parse_forward_backward(plain), len(plain)

    try:
        wire.require_protobuf(request.headers)
        plain_size = wire.plain_size(body, encoding, state.limits.request_bytes)
        hold(request, max(0, plain_size - len(body)))
        message, size = await parsed(request, parse_message, body, plain_size)
    except wire.TooManyDatums as error:
        return _too_large(request, ApiError(400, str(error)))
    except ValueError as error:
        raise ApiError(400, str(error)) from error
    queue = state.model_queue(owner, message.model_id)

    def work() -> Resumable[Result]:
        wire.check_size(message, state.limits.tokens_per_request, state.limits.cells_per_request)
        data = wire.datums(message)
        approximated = message.loss_fn == "stable_reinforce" and state.settings.server.stable_reinforce != "refused"
        loss = state.settings.server.stable_reinforce if approximated else message.loss_fn
        asked = state.residency.model(queue.name).forward_backward_job(
            data, loss, wire.loss_config(message), backward=not message.forward_only
        )
        while not asked.run_slice(state.scheduler.turn_is_over).result():
            yield
            # Others may have taken the model's place on the device.
            state.residency.model(queue.name)
        tokens = sum(datum.model_input.length for datum in data)
        state.metrics.trained(queue.name, tokens, asked.result.metrics.get("loss:sum"))
        if approximated:
            asked.result.metrics[f"stable_reinforce_is_{loss}:max"] = 1.0
        return Result(wire.forward_backward_body(asked.result), wire.PROTOBUF)

    whole = work if message.forward_only else split_calls.part(state, queue, message.seq_id, work)
    return _enqueue(state, queue, message.seq_id, whole, size)


def _too_large(request: Request, refused: ApiError) -> UntypedAPIFuture:
    """Refuse a request through its future, so that its number is used up; a 4xx would leave a gap for ever."""
    state = state_of(request)
    order = wire.peek_order(request.state.head)
    if order is None or request.headers.get("content-encoding"):
        raise refused
    queue = state.model_queue(owner_of(request), order[0])

    def work() -> Result:
        raise ValueError(refused.detail)

    return _enqueue(state, queue, order[1], split_calls.part(state, queue, order[1], work), 0)


@router.post("/optim_step")
async def optim_step(request: Request) -> UntypedAPIFuture:
    """One step of the optimiser."""

    def step(state: ServerState, queue: ModelQueue, wanted: types.OptimStepRequest) -> Work:
        def work() -> Result:
            params = wanted.optim_params
            if not isinstance(params, types.AdamParams):
                raise ValueError(f'The optimiser "{params.type}" is not offered here; use AdamParams.')
            response = state.residency.model(queue.name).optim_step(params).result()
            return json_result({"metrics": response.metrics})

        return split_calls.step(queue, work)

    return await _ordered(request, types.OptimStepRequest, step)


@router.post("/save_weights")
async def save_weights(request: Request) -> UntypedAPIFuture:
    """Save adapter and optimiser."""

    def save(state: ServerState, queue: ModelQueue, wanted: SaveWeightsRequest) -> Work:
        def work() -> Result:
            name = _name(wanted.path)
            client = state.residency.model(queue.name)
            path = state.checkpoints.save(
                CheckpointPath(queue.name, "training", name),
                queue.owner,
                lambda: client.save_state(name, overwrite=wanted.overwrite).result(),
                ttl_seconds=wanted.ttl_seconds,
                metadata=wanted.user_metadata,
            )
            return json_result({"type": "save_weights", "path": path})

        return work

    return await _ordered(request, SaveWeightsRequest, save)


@router.post("/save_weights_for_sampler")
async def save_weights_for_sampler(request: Request) -> UntypedAPIFuture:
    """Save the adapter alone: under a name, or as an unnamed snapshot, with a sampler for it."""

    def save(state: ServerState, queue: ModelQueue, wanted: SaveForSampling) -> Work:
        def save_under(name: str, **record: Any) -> str:
            client, where = state.residency.model(queue.name), CheckpointPath(queue.name, "sampler", name)
            return state.checkpoints.save(
                where, queue.owner, lambda: client.save_weights_for_sampler(name).result(), **record
            )

        def named() -> Result:
            path = save_under(_name(wanted.path), ttl_seconds=wanted.ttl_seconds, metadata=wanted.user_metadata)
            return json_result({"type": "save_weights_for_sampler", "path": path})

        def unnamed() -> Result:
            if wanted.sampling_session_seq_id is None:
                raise ValueError("save_weights_for_sampler needs a path or a sampling_session_seq_id.")
            check_number("sampling_session_seq_id", wanted.sampling_session_seq_id)
            path = save_under(f"snapshot-{wanted.sampling_session_seq_id}", snapshot=True)
            run = state.run(queue.owner, queue.name)
            sampler = state.samplers.add_snapshot(
                run, state.served(run.base_model), wanted.sampling_session_seq_id, path, wanted.kind
            )
            return json_result({"type": "save_weights_for_sampler", "sampling_session_id": sampler})

        return unnamed if wanted.path is None else named

    return await _ordered(request, SaveForSampling, save)


@router.post("/save_weights_external")
async def save_weights_external(request: Request) -> UntypedAPIFuture:
    """Save the adapter as files to download."""

    def save(state: ServerState, queue: ModelQueue, wanted: SaveWeightsExternalRequest) -> Work:
        def work() -> Result:
            name, recipients = _name(wanted.path), wanted.age_encryption_recipients
            client = state.residency.model(queue.name)
            path = state.checkpoints.save(
                CheckpointPath(queue.name, "external", name),
                queue.owner,
                lambda: external_weights.save(state.residency, client, name, recipients),
                ttl_seconds=wanted.ttl_seconds,
            )
            return json_result(
                {"type": "save_weights_external", "path": path, "size_bytes": state.residency.size(path)}
            )

        return work

    return await _ordered(request, SaveWeightsExternalRequest, save)


async def _ordered(
    request: Request, kind: type[Body], plan: Callable[[ServerState, ModelQueue, Any], Work], body: bytes | None = None
) -> UntypedAPIFuture:
    """Queue a JSON request. Once its model and number are known, what is wrong with it comes out of its future."""
    state, owner = state_of(request), owner_of(request)
    content = await read_body(request) if body is None else body
    require_json(request.headers)
    try:
        values = from_json(content)
        model_id, seq_id = values["model_id"], values["seq_id"]
    except ValueError as error:
        raise ApiError(400, f"The body is no JSON: {error}.") from error
    except (KeyError, TypeError) as error:
        raise ApiError(400, "The body must be a JSON object with model_id and seq_id.") from error
    queue = state.model_queue(owner, str(model_id))
    try:
        work = plan(state, queue, read_model(kind, content))
    except ApiError as error:
        problem = ValueError(error.detail)

        def work() -> Result:
            raise problem

    return _enqueue(state, queue, seq_id, work, len(content))


def _enqueue(state: ServerState, queue: ModelQueue, seq_id: Any, work: Work, size: int) -> UntypedAPIFuture:
    if not isinstance(seq_id, int) or isinstance(seq_id, bool) or not 0 < seq_id < 2**63:
        raise ApiError(400, f"seq_id is {str(seq_id)[:50]!r}; a model's requests are numbered from 1.")
    return UntypedAPIFuture(request_id=state.enqueue(queue, seq_id, work, size), model_id=queue.name)


def _name(path: str | None) -> str:
    if not path:
        raise ValueError("A checkpoint needs a name.")
    check_name(path)
    return path
