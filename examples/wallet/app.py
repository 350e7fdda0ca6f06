"""The wallet over HTTP: `/authorize` for the platform, balances and charges for its operator."""

from typing import Annotated, Final

import msgspec
from litestar import Litestar, MediaType, Response, get, put
from litestar.params import FromPath, JSONBody

from examples.product_endpoint import (
    ProductEndpoint,
    ProductSettings,
    loopback_only,
    problem,
    product_app,
)
from examples.wallet.ledger import Charge, Ledger
from examples.wallet.money import Money, MoneyInvalid, read_money

ACTION: Final = "pay"


class Balance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person has, as decimal text of a currency."""

    amount: Annotated[str, msgspec.Meta(max_length=20)]
    currency: Annotated[str, msgspec.Meta(max_length=3)]


def wallet_app(settings: ProductSettings, opening: Money) -> Litestar:
    """The wallet as an ASGI application. `opening` is the balance of a person it never met."""
    endpoint = ProductEndpoint(settings, ACTION)
    ledger = Ledger(endpoint.database, opening)

    @get("/charges", guards=[loopback_only], sync_to_thread=True)
    def charges() -> list[Charge]:
        return ledger.charges()

    @put(
        "/admin/balances/{tenant_id:str}/{user_id:str}",
        guards=[loopback_only],
        sync_to_thread=True,
    )
    def set_balance(
        tenant_id: FromPath[str], user_id: FromPath[str], data: JSONBody[Balance]
    ) -> Response[bytes]:
        try:
            money = read_money(data.amount, data.currency)
        except MoneyInvalid:
            return problem(422, "amount_invalid")
        ledger.set_balance(tenant_id, user_id, money)
        return Response(msgspec.json.encode(data), media_type=MediaType.JSON)

    return product_app(endpoint, ledger.decide, ledger.undo, ledger.record, [charges, set_balance])
