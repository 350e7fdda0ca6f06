"""`/v1/audit/log`: the tenant's transparency log, as C2SP tlog-tiles has it, and proofs about it.

The tenant comes from the token. With `tree=platform` the tree over all tenants' checkpoints is
meant, which only a client of the platform itself sees: to others it is not there.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from application.ports.transparency import LogIdentity
from application.principals import Manager
from domain.errors import Malformed, NotFound
from domain.ids import PLATFORM, TenantId, parse
from domain.transparency.origin import PLATFORM_LOG
from domain.transparency.proof import encode_hashes
from domain.transparency.tiles import read_tile_path
from interfaces.http.services import Services

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

TEXT: Final = "text/plain"
BYTES: Final = "application/octet-stream"
NEVER_CHANGES: Final = {"cache-control": "private, max-age=31536000, immutable"}
CHANGES: Final = {"cache-control": "no-store"}
SIZE_MAX: Final = 2**62

Tree = Annotated[
    Literal["tenant", "platform"],
    QueryParameter(name="tree", description="`platform` is for clients of the platform itself"),
]
Final_ = Annotated[
    bool,
    QueryParameter(name="final", description="only a checkpoint that enough witnesses cosigned"),
]
EventId = Annotated[
    str | None,
    QueryParameter(
        name="event_id",
        min_length=1,
        max_length=80,
        pattern="^[0-9A-Za-z_:-]+$",
        description="the event's log position, as `log-position` says it; or its stream and its"
        " version in it, such as dev_0198c7a09e6c7b1f8d3e2a4b5c6d7e8f:3",
    ),
]
LeafIndex = Annotated[
    int | None,
    QueryParameter(name="index", ge=0, le=SIZE_MAX, description="the leaf's index, from 0"),
]
Old = Annotated[int, QueryParameter(name="old", ge=1, le=SIZE_MAX, description="leaves then")]
Size = Annotated[int, QueryParameter(name="size", ge=1, le=SIZE_MAX, description="leaves now")]


class LogDescription(msgspec.Struct, frozen=True, kw_only=True):
    """What a verifier needs, and how far the log has come. `vkey` is the key of its checkpoints;
    sizes are in leaves, 0 before the first checkpoint."""

    origin: str
    vkey: str
    witnesses: list[str]
    witnesses_required: int
    size: int
    final_size: int


class LogKey(msgspec.Struct, frozen=True, kw_only=True):
    origin: str
    vkey: str


class LogKeys(msgspec.Struct, frozen=True, kw_only=True):
    """`log` is that of the tenant asked for, without a word on whether there is such a tenant."""

    platform: LogKey
    log: LogKey | None
    witnesses: list[str]
    witnesses_required: int


@get(
    "/.well-known/transparency-log.json",
    operation_id="getLogKeys",
    public=True,
    tags=["Keys"],
    summary="Origins and verifier keys of the transparency logs (C2SP signed-note)",
    refusals={400: ("invalid_request",)},
)
async def keys(
    services: Given,
    tenant_id: Annotated[
        str | None, QueryParameter(name="tenant_id", pattern="^ten_[0-9a-f]{32}$", max_length=36)
    ] = None,
) -> LogKeys:
    logs = services.transparency_logs
    platform = logs.identity(PLATFORM_LOG)
    found = None if tenant_id is None else parse("ten", tenant_id)
    return LogKeys(
        platform=_key(platform),
        log=None if found is None else _key(logs.identity(TenantId(found))),
        witnesses=list(platform.witnesses),
        witnesses_required=platform.witnesses_required,
    )


@get(
    "/v1/audit/log",
    operation_id="getLog",
    tags=["Audit"],
    summary="The tenant's transparency log: its name, its key, how far it has come",
    permission="audit.read",
    refusals={400: ("invalid_request",), 404: ("log_not_found",)},
)
async def describe(
    integrator: Integrator, services: Given, tree: Tree = "tenant"
) -> LogDescription:
    log_id = _log(integrator, tree)
    identity = services.transparency_logs.identity(log_id)
    newest = await services.transparency_logs.checkpoint(log_id)
    final = await services.transparency_logs.checkpoint(log_id, final=True)
    return LogDescription(
        origin=identity.origin,
        vkey=identity.vkey,
        witnesses=list(identity.witnesses),
        witnesses_required=identity.witnesses_required,
        size=0 if newest is None else newest.size,
        final_size=0 if final is None else final.size,
    )


@get(
    "/v1/audit/log/checkpoint",
    operation_id="getLogCheckpoint",
    tags=["Audit"],
    summary="The last signed checkpoint (C2SP tlog-checkpoint)",
    permission="audit.read",
    media_type=TEXT,
    refusals={400: ("invalid_request",), 404: ("log_not_found", "checkpoint_not_found")},
)
async def checkpoint(
    integrator: Integrator, services: Given, tree: Tree = "tenant", final: Final_ = False
) -> Response[str]:
    found = await services.transparency_logs.checkpoint(_log(integrator, tree), final=final)
    if found is None:
        raise NotFound("checkpoint_not_found")
    said = {"checkpoint-final": "true" if found.final else "false"}
    return Response(found.note, media_type=TEXT, headers={**CHANGES, **said})


@get(
    "/v1/audit/log/tile/{tile_path:path}",
    operation_id="getLogTile",
    tags=["Audit"],
    summary="A tile of hashes or a bundle of entries (C2SP tlog-tiles)",
    permission="audit.read",
    media_type=BYTES,
    refusals={400: ("invalid_request",), 404: ("log_not_found", "tile_not_found")},
)
async def tile(
    integrator: Integrator, services: Given, tile_path: FromPath[str], tree: Tree = "tenant"
) -> Response[bytes]:
    log_id = _log(integrator, tree)
    wanted = read_tile_path(f"tile/{tile_path.removeprefix('/')}")
    found = None if wanted is None else await services.transparency_logs.tile(log_id, wanted)
    if found is None:
        raise NotFound("tile_not_found")
    return Response(found, media_type=BYTES, headers=NEVER_CHANGES)


@get(
    "/v1/audit/log/proof",
    operation_id="getLogProof",
    tags=["Audit"],
    summary="The proof that an event is in the log (C2SP tlog-proof)",
    permission="audit.read",
    media_type=TEXT,
    refusals={
        400: ("invalid_request",),
        404: ("log_not_found", "event_not_found"),
        503: ("position_not_reached",),
    },
)
async def proof(
    integrator: Integrator,
    services: Given,
    event_id: EventId = None,
    index: LeafIndex = None,
    tree: Tree = "tenant",
    final: Final_ = False,
) -> Response[str]:
    log_id = _log(integrator, tree)
    if event_id is not None and index is None:
        found = await services.event_proofs.of_event(log_id, event_id, final=final)
    elif index is not None and event_id is None:
        found = await services.event_proofs.of_leaf(log_id, index, final=final)
    else:
        raise Malformed("invalid_request", "name the event by event_id or by index")
    return Response(found, media_type=TEXT, headers=CHANGES)


@get(
    "/v1/audit/log/consistency",
    operation_id="getLogConsistency",
    tags=["Audit"],
    summary="That the log of old leaves is a prefix of that of size: a hash a line (RFC 6962)",
    permission="audit.read",
    media_type=TEXT,
    refusals={400: ("invalid_request",), 404: ("log_not_found", "tree_not_found")},
)
async def consistency(
    integrator: Integrator, services: Given, old: Old, size: Size, tree: Tree = "tenant"
) -> Response[str]:
    log_id = _log(integrator, tree)
    found = await services.transparency_logs.consistency(log_id, old, size)
    if found is None:
        raise NotFound("tree_not_found")
    return Response(encode_hashes(found), media_type=TEXT, headers=NEVER_CHANGES)


def _log(integrator: Manager, tree: str) -> TenantId:
    """Raises NotFound (`log_not_found`)."""
    if tree == "tenant":
        return integrator.tenant_id
    if integrator.tenant_id != PLATFORM:
        raise NotFound("log_not_found")
    return PLATFORM_LOG


def _key(identity: LogIdentity) -> LogKey:
    return LogKey(origin=identity.origin, vkey=identity.vkey)


HANDLERS: Final[tuple[Any, ...]] = (keys, describe, checkpoint, tile, proof, consistency)
