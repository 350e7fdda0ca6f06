"""`/v1/auth/consents`: what a person agrees to, by the person."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from application.principals import UserPrincipal
from domain.ids import ConsentId
from interfaces.http.consent_shapes import (
    GRANT,
    NOT_FOUND,
    PREFIX,
    ConsentGiven,
    ConsentList,
    ConsentShown,
    ReceiptShown,
    Withdrawal,
    consent_shown,
)
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import path_id
from interfaces.http.refusals import BODY, WRITE, merged
from interfaces.http.services import Services

Given = NamedDependency[Services]
Person = NamedDependency[UserPrincipal]


@get(
    "/v1/auth/consents",
    operation_id="listMyConsents",
    tags=["Consent"],
    summary="All that you agreed to and withdrew, the oldest first",
    user=True,
)
async def index(person: Person, services: Given) -> ConsentList:
    found = await services.consent_records.of_user(person.tenant_id, person.user_id)
    return ConsentList(items=[consent_shown(record) for record in found])


@post(
    "/v1/auth/consents",
    operation_id="giveConsent",
    tags=["Consent"],
    summary="Agree to one purpose; the same again changes nothing",
    status_code=200,
    dto=StrictJSON[ConsentGiven],
    return_dto=None,
    user=True,
    refusals=GRANT,
)
async def grant(data: JSONBody[ConsentGiven], person: Person, services: Given) -> ConsentShown:
    granted, _ = await services.consents.grant_for(
        person, person.user_id, data.agreed(), data.method
    )
    records = await services.consent_records.of_user(person.tenant_id, person.user_id)
    (shown,) = [each for each in records if each.consent_id == granted.consent_id]
    return consent_shown(shown)


@post(
    "/v1/auth/consents/withdraw",
    operation_id="withdrawConsent",
    tags=["Consent"],
    summary="Agree to one purpose no longer",
    status_code=204,
    dto=StrictJSON[Withdrawal],
    return_dto=None,
    user=True,
    refusals=merged(BODY, WRITE, {404: (NOT_FOUND,)}),
)
async def withdraw(data: JSONBody[Withdrawal], person: Person, services: Given) -> Response[None]:
    await services.consents.withdraw(person, person.user_id, data.consent_type)
    return Response(None, status_code=204)


@get(
    "/v1/auth/consents/{consent_id:str}/receipt",
    operation_id="getMyConsentReceipt",
    tags=["Consent"],
    summary="A signed receipt of one consent of yours, as it is now (ISO/IEC TS 27560)",
    user=True,
    refusals={404: (NOT_FOUND,)},
)
async def receipt(consent_id: FromPath[str], person: Person, services: Given) -> ReceiptShown:
    found = ConsentId(path_id(PREFIX, consent_id, NOT_FOUND))
    return ReceiptShown(
        receipt=await services.consent_records.receipt(person.tenant_id, person.user_id, found)
    )


HANDLERS = (index, grant, withdraw, receipt)
