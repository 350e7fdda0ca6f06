"""Holds every answer of the house against its own OpenAPI document."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec

METHODS = ("get", "post", "patch", "put", "delete")
PROBLEM = "application/problem+json"


class Operation(msgspec.Struct, frozen=True):
    """One method of one path, with what the document says of it."""

    method: str
    path: str
    described: dict[str, Any]
    on_device: bool

    @property
    def id(self) -> str:
        return str(self.described["operationId"])

    @property
    def takes_json(self) -> bool:
        return "application/json" in self.described.get("requestBody", {}).get("content", {})

    @property
    def by_user(self) -> bool:
        """Whether it is a signed-in person who asks."""
        return {"user": []} in self.described["security"]

    @property
    def by_operator(self) -> bool:
        """Whether it is a console person who asks, and nobody else may."""
        security: list[dict[str, list[str]]] = self.described["security"]
        return security == [{"console": []}]

    def codes(self, status: int) -> list[str]:
        """The problem codes that are documented for a status; none for a success."""
        answer = self.described["responses"].get(str(status), {})
        schema = answer.get("content", {}).get(PROBLEM, {}).get("schema", {})
        found: list[str] = [
            code
            for part in schema.get("allOf", [])
            for code in part.get("properties", {}).get("code", {}).get("enum", [])
        ]
        return found

    def matches(self, path: str) -> bool:
        # Only a tile's path goes on over several segments.
        template = re.escape(self.path).replace(r"\{tile_path\}", ".+")
        template = re.sub(r"\\\{\w+\\\}", "[^/]+", template)
        return re.fullmatch(template, path) is not None


class Undocumented(AssertionError):
    """The house answered something that its document does not say."""


class Contract:
    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.operations = list(_operations(document))

    def operation(self, operation_id: str) -> Operation:
        return next(found for found in self.operations if found.id == operation_id)

    async def hear(self, response: httpx.Response) -> None:
        """As an event hook of httpx: read the answer and check it."""
        await response.aread()
        self.check(response)

    def check(self, response: httpx.Response) -> None:
        """Raises Undocumented."""
        request = response.request
        problem = response.headers.get("content-type", "") == PROBLEM
        code = json.loads(response.content).get("code") if problem else None
        told = f"{request.method} {request.url.path}: {response.status_code} {code}"
        here = [found for found in self.operations if found.matches(request.url.path)]
        asked = [found for found in here if found.method == request.method.lower()]
        if not asked or code in ("malformed_http", "headers_too_large"):
            anywhere = {404: "not_found", 405: "method_not_allowed", 431: "headers_too_large"}
            anywhere[400] = "malformed_http"
            if request.method not in ("OPTIONS",) and anywhere.get(response.status_code) != code:
                raise Undocumented(told)
            return
        if (response.status_code, code) == (404, "not_found") and problem:
            return  # The path of one listener, asked of the other.
        (operation,) = asked
        if str(response.status_code) not in operation.described["responses"]:
            raise Undocumented(told)
        if problem and code not in operation.codes(response.status_code):
            raise Undocumented(told)


def _operations(document: dict[str, Any]) -> Iterator[Operation]:
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield Operation(method, path, item[method], "servers" in item)
