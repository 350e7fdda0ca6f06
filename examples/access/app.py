"""The access control over HTTP: `/authorize` for the platform, grants and log for its operator."""

from typing import Annotated, Final

import msgspec
from litestar import Litestar, delete, get, post
from litestar.params import JSONBody

from examples.access.gates import Gates, Opening
from examples.product_endpoint import ProductEndpoint, ProductSettings, loopback_only, product_app

ACTION: Final = "open"

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class Grant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person may pass a gate; `*` is every gate."""

    tenant_id: _Name
    user_id: _Name
    gate: _Name


def access_app(settings: ProductSettings) -> Litestar:
    """The access control as an ASGI application."""
    endpoint = ProductEndpoint(settings, ACTION)
    gates = Gates(endpoint.database)

    @get("/openings", guards=[loopback_only], sync_to_thread=True)
    def openings() -> list[Opening]:
        return gates.openings()

    @post("/admin/grants", guards=[loopback_only], sync_to_thread=True)
    def grant(data: JSONBody[Grant]) -> Grant:
        gates.grant(data.tenant_id, data.user_id, data.gate)
        return data

    @delete("/admin/grants", guards=[loopback_only], sync_to_thread=True)
    def withdraw(data: JSONBody[Grant]) -> None:
        gates.withdraw(data.tenant_id, data.user_id, data.gate)

    return product_app(
        endpoint, gates.decide, gates.undo, gates.record, [openings, grant, withdraw]
    )
