"""The OpenAPI document: both listeners in one, every route, every documented refusal.

Litestar knows the paths and the parameters. Shapes come from msgspec, which is what reads and
writes the bodies; who may call and what is refused comes from the routes' own options.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import msgspec
from litestar import Litestar, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.routes import HTTPRoute

from application.permissions import ROLES, SCOPES
from interfaces.http.as_of import NAME as AS_OF
from interfaces.http.as_of import PATTERN as AS_OF_PATTERN
from interfaces.http.parameters import BATCH_PATTERN, KEY_HEADER, KEY_PATTERN, PROVIDER_PATTERN
from interfaces.http.problems import CHALLENGES, MEDIA_TYPE, TITLES, Problem
from interfaces.http.refusals import (
    CONSOLE,
    DEVICE,
    INTEGRATOR,
    UNAVAILABLE,
    USER,
    Refusals,
    merged,
)
from interfaces.http.times import NAMES as TIMES
from interfaces.http.times import PATTERN as TIME_PATTERN

TITLE: Final = "Link Identity Platform"
VERSION: Final = "0.1.0"
PATH: Final = "/openapi.json"
DESCRIPTION: Final = """\
Two listeners: everything under `/v1/device/` is on the device listener, which wants the client \
certificate from pairing (mutual TLS 1.3), except what is for devices without a usable certificate \
(pairing, nonce, certificate status and recovery); that, and the rest, is on the public one.

Every refusal is an RFC 9457 problem; branch on its `code`. The codes of each route stand with \
its statuses. Any path may also answer 404 `not_found`, 405 `method_not_allowed` with `Allow`, \
431 `headers_too_large` and 400 `malformed_http`. `retryable` says whether the same request may \
succeed later; every 429 and 503 may.
"""

BEARER: Final = "integrator"
MUTUAL_TLS: Final = "device"
BASIC: Final = "client"
PERSON: Final = "user"
OPERATOR: Final = "console"

ID_PREFIXES: Final = {
    "device_id": "dev",
    "service_id": "lsvc",
    "transaction_id": "txn",
    "user_id": "usr",
    "palm_ref": "plm",
    "verification_id": "ver",
    "identification_id": "idn",
    "challenge_id": "pch",
    "endpoint_id": "whe",
    "client_id": "cli",
    "session_id": "uss",
    "tenant_id": "ten",
    "consent_id": "cst",
    "operator_id": "opr",
    "approval_id": "apr",
    "console_session_id": "ocs",
    "passkey_id": "pky",
}
"""Parameters that carry an id of ours, and the prefix that such an id has."""

TILE_PATTERN: Final = r"^(entries|[0-9]{1,2})/(x[0-9]{3}/)*[0-9]{3}(\.p/[1-9][0-9]{0,2})?$"

SCHEMA_REF: Final = "#/components/schemas/{name}"

Document = dict[str, Any]


def config() -> OpenAPIConfig:
    """Litestar's generator; serving the document is ours."""
    return OpenAPIConfig(
        title=TITLE, version=VERSION, path="/schema-of-one-listener", render_plugins=[]
    )


def document(public: Litestar, device: Litestar, *, issuer: str, device_api: str) -> Document:
    """One document; the paths of the device listener name their own server."""
    paths = _paths(public)
    for path, item in _paths(device).items():
        paths[path] = {**item, "servers": [{"url": device_api}]}
    handlers = [handler for app in (public, device) for _, handler in _described(app)]
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": VERSION, "description": DESCRIPTION},
        "servers": [{"url": issuer}],
        "paths": paths,
        "components": {
            "schemas": _schemas(handlers),
            "securitySchemes": _security_schemes(issuer),
        },
    }


def route(content: bytes) -> HTTPRouteHandler:
    """The handler that serves the finished document."""

    @get(
        PATH,
        operation_id="getOpenAPI",
        public=True,
        include_in_schema=False,
        media_type="application/json",
    )
    async def openapi() -> Response[bytes]:
        return Response(content, media_type="application/json")

    return openapi


def required_codes(handler: HTTPRouteHandler) -> Refusals:
    """Every documented refusal of a route: its own, and those of the door in front of it."""
    own = cast("Refusals", handler.opt.get("refusals", {}))
    if "permission" in handler.opt:
        return merged(INTEGRATOR, own, UNAVAILABLE)
    if "device_operation" in handler.opt:
        return merged(DEVICE, own, UNAVAILABLE)
    if "user" in handler.opt:
        return merged(USER, own, UNAVAILABLE)
    if "console" in handler.opt:
        return merged(CONSOLE, own, UNAVAILABLE)
    return merged(own, UNAVAILABLE) if own else own


def security(opt: Mapping[str, Any]) -> list[dict[str, list[str]]]:
    """Who may call, in OpenAPI's words: any one of the listed suffices, none means anybody."""
    if "permission" in opt:
        opening = sorted(name for name, opens in SCOPES.items() if opt["permission"] in opens)
        by_people = any(opt["permission"] in opens for opens in ROLES.values())
        return [{BEARER: [scope]} for scope in opening] + [{OPERATOR: []}] * by_people
    if "user" in opt:
        return [{PERSON: []}]
    if "console" in opt:
        return [{OPERATOR: []}]
    return [{MUTUAL_TLS: []}] if "device_operation" in opt else []


def _described(app: Litestar) -> Iterator[tuple[HTTPRoute, HTTPRouteHandler]]:
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                if handler.resolve_include_in_schema() and handler.operation_id is not None:
                    yield route, handler


def _paths(app: Litestar) -> Document:
    drawn = msgspec.json.decode(msgspec.json.encode(app.openapi_schema.to_schema()))
    paths: Document = drawn["paths"]
    for route, handler in _described(app):
        for method in handler.http_methods:
            _complete(paths[route.path_format][method.lower()], handler)
    return paths


def _complete(operation: Document, handler: HTTPRouteHandler) -> None:
    operation["security"] = security(handler.opt)
    for parameter in operation.get("parameters", []):
        _complete_parameter(parameter)
    answers: Document = operation["responses"]
    if 400 not in (handler.responses or {}):
        answers.pop("400", None)  # Litestar's own, for a form of refusal that we do not have.
    if "form" in handler.opt:
        schema = {"$ref": SCHEMA_REF.format(name=handler.opt["form"].__name__)}
        content = {"application/x-www-form-urlencoded": {"schema": schema}}
        operation["requestBody"] = {"required": True, "content": content}
        operation["security"] = [{BASIC: []}, {}]
    for answer in answers.values():
        shown = answer.get("content", {}).values()
        if any(each.get("schema") == {"type": "null"} for each in shown):
            del answer["content"]
    for status, codes in required_codes(handler).items():
        answers[str(status)] = _refusal(status, codes)


def _refusal(status: int, codes: tuple[str, ...]) -> Document:
    named: Document = {"properties": {"code": {"enum": list(codes)}}}
    schema: Document = {"allOf": [{"$ref": SCHEMA_REF.format(name="Problem")}, named]}
    answer: Document = {
        "description": f"{TITLES[status]}: " + ", ".join(f"`{code}`" for code in codes),
        "content": {MEDIA_TYPE: {"schema": schema}},
    }
    names = ["WWW-Authenticate"] if any(code in CHALLENGES for code in codes) else []
    names += ["Retry-After"] if status in (429, 503) else []
    if names:
        answer["headers"] = {name: {"schema": {"type": "string"}} for name in names}
    return answer


def _complete_parameter(parameter: Document) -> None:
    """Litestar writes that an absent parameter may be null, and loses a bound of zero."""
    schema: Document = parameter["schema"]
    choices = [choice for choice in schema.pop("oneOf", []) if choice != {"type": "null"}]
    schema.update(*choices)
    if isinstance(schema.get("type"), list):
        (schema["type"],) = (name for name in schema["type"] if name != "null")
    if "enum" in schema:
        schema["enum"] = [value for value in schema["enum"] if value is not None]
    if parameter["name"] in ("min_position", "index"):
        schema["minimum"] = 0
    if parameter["name"] in TIMES:
        schema["pattern"] = TIME_PATTERN
    if parameter["name"] == AS_OF:
        schema["pattern"] = AS_OF_PATTERN
    if parameter["name"] == "tile_path":
        schema["pattern"] = TILE_PATTERN
        parameter["example"] = "entries/x001/234.p/17"
    if parameter["name"] == "provider":
        schema["pattern"] = PROVIDER_PATTERN
        parameter["example"] = "google"
    if parameter["name"] == "batch":
        schema["pattern"] = BATCH_PATTERN
    if parameter["name"].lower().replace("_", "-") == KEY_HEADER:
        schema["pattern"] = KEY_PATTERN
    prefix = ID_PREFIXES.get(parameter["name"])
    if prefix is not None:
        schema["pattern"] = f"^{prefix}_[0-9a-f]{{32}}$"
        parameter["example"] = f"{prefix}_0198c7a09e6c7b1f8d3e2a4b5c6d7e8f"


def _schemas(handlers: list[HTTPRouteHandler]) -> Document:
    shapes: dict[str, type[msgspec.Struct]] = {"Problem": Problem}
    for handler in handlers:
        for shape in _shapes(handler):
            assert shapes.setdefault(shape.__name__, shape) is shape, f"two shapes: {shape}"
    _, found = msgspec.json.schema_components(shapes.values(), ref_template=SCHEMA_REF)
    return dict(sorted(found.items()))


def _shapes(handler: HTTPRouteHandler) -> Iterator[type[msgspec.Struct]]:
    """The structs that a route reads and writes, as its signature and its options name them."""
    data = handler.parsed_fn_signature.parameters.get("data")
    answered = handler.parsed_return_field
    named = [inner.annotation for inner in answered.inner_types] or [answered.annotation]
    named += [] if data is None else [data.annotation]
    named += [handler.opt["form"]] if "form" in handler.opt else []
    named += [spec.data_container for spec in (handler.responses or {}).values()]
    for shape in named:
        if isinstance(shape, type) and issubclass(shape, msgspec.Struct):
            yield shape


def _security_schemes(issuer: str) -> Document:
    scopes = {name: "opens " + ", ".join(sorted(opens)) for name, opens in SCOPES.items()}
    flow = {"tokenUrl": f"{issuer}/oauth2/token", "scopes": scopes}
    return {
        BEARER: {
            "type": "oauth2",
            "description": "An access token from POST /oauth2/token; one that is bound to a key "
            "comes with the scheme DPoP and a proof (RFC 9449)",
            "flows": {"clientCredentials": flow},
        },
        MUTUAL_TLS: {"type": "mutualTLS", "description": "The device certificate from pairing"},
        PERSON: {
            "type": "http",
            "scheme": "bearer",
            "description": "The access token of a user session, for the auth endpoints only",
        },
        OPERATOR: {
            "type": "http",
            "scheme": "bearer",
            "description": "The token of a console session. A Platform Admin names the tenant in "
            "the header Link-Tenant; the rest act in their own. What a role may: docs/console.md",
        },
        BASIC: {
            "type": "http",
            "scheme": "basic",
            "description": "client_id and client_secret; or send both in the form",
        },
    }
