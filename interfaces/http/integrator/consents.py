"""`/v1/consent-types` and `/v1/users/{id}/consents`: what people are asked, and what they said."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from application.principals import Manager
from domain.consent_type import PublishedConsent
from domain.ids import ConsentId, UserId
from interfaces.http.consent_shapes import (
    GRANT,
    NOT_FOUND,
    PREFIX,
    Agreed,
    ConsentList,
    ConsentShown,
    ConsentTypeName,
    Locale,
    ReceiptShown,
    Sha256,
    Version,
    Withdrawal,
    consent_shown,
)
from interfaces.http.json_body import StrictJSON
from interfaces.http.parameters import path_id
from interfaces.http.positions import positioned
from interfaces.http.refusals import BODY, WRITE, Refusals, merged
from interfaces.http.services import Services

Given = NamedDependency[Services]
Integrator = NamedDependency[Manager]

USER: Final = "usr"
OF_USER: Final[Refusals] = {404: ("user_not_found",)}


class ConsentRecorded(Agreed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person agreed to, told by a backend, which may also have it on paper."""

    method: Literal["app", "web", "paper"] = "app"


class NewConsentVersion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A version of one purpose, with the SHA-256 (hex) of its words in each locale."""

    consent_type: ConsentTypeName
    version: Version
    text_sha256: Annotated[dict[Locale, Sha256], msgspec.Meta(max_length=64)] = {}


class ConsentTypeShown(msgspec.Struct, frozen=True, kw_only=True):
    """The version in force of one purpose; `before` are those that are outdated."""

    consent_type: str
    version: str
    text_sha256: Mapping[str, str]
    published_at: datetime
    before: tuple[str, ...]


class ConsentTypeList(msgspec.Struct, frozen=True, kw_only=True):
    items: list[ConsentTypeShown]


@get(
    "/v1/consent-types",
    operation_id="listConsentTypes",
    tags=["Consent"],
    summary="The purposes that your people are asked for, and the version in force of each",
    permission="consents.read",
)
async def types(integrator: Integrator, services: Given) -> ConsentTypeList:
    found = await services.consent_types.known(integrator.tenant_id)
    return ConsentTypeList(items=[_type(name, found[name]) for name in sorted(found)])


@post(
    "/v1/consent-types",
    operation_id="publishConsentType",
    tags=["Consent"],
    summary="Put a version of a purpose in force; the same again changes nothing",
    status_code=200,
    dto=StrictJSON[NewConsentVersion],
    return_dto=None,
    permission="consents.write",
    refusals=merged(
        BODY,
        WRITE,
        {
            409: ("consent_version_used", "consent_version_outdated", "too_many_consent_types"),
            422: ("consent_type_invalid",),
        },
    ),
)
async def publish(
    data: JSONBody[NewConsentVersion], integrator: Integrator, services: Given
) -> Response[ConsentTypeShown]:
    published, done = await services.consent_types.publish(
        integrator, data.consent_type, data.version, data.text_sha256
    )
    return Response(_type(data.consent_type, published), headers=positioned(done))


@get(
    "/v1/users/{user_id:str}/consents",
    operation_id="listConsents",
    tags=["Consent"],
    summary="All that a person agreed to and withdrew, the oldest first",
    permission="consents.read",
    refusals=OF_USER,
)
async def index(user_id: FromPath[str], integrator: Integrator, services: Given) -> ConsentList:
    found = await services.consent_records.of_user(integrator.tenant_id, _user(user_id))
    return ConsentList(items=[consent_shown(record) for record in found])


@post(
    "/v1/users/{user_id:str}/consents",
    operation_id="recordConsent",
    tags=["Consent"],
    summary="Record that a person agreed to one purpose; the same again changes nothing",
    status_code=200,
    dto=StrictJSON[ConsentRecorded],
    return_dto=None,
    permission="consents.write",
    refusals=merged(GRANT, OF_USER),
)
async def grant(
    user_id: FromPath[str],
    data: JSONBody[ConsentRecorded],
    integrator: Integrator,
    services: Given,
) -> Response[ConsentShown]:
    of_user = _user(user_id)
    granted, done = await services.consents.grant_for(
        integrator, of_user, data.agreed(), data.method
    )
    records = await services.consent_records.of_user(integrator.tenant_id, of_user)
    (shown,) = [each for each in records if each.consent_id == granted.consent_id]
    return Response(consent_shown(shown), headers=positioned(done))


@post(
    "/v1/users/{user_id:str}/consents/withdraw",
    operation_id="recordConsentWithdrawal",
    tags=["Consent"],
    summary="Record that a person agrees to one purpose no longer",
    status_code=204,
    dto=StrictJSON[Withdrawal],
    return_dto=None,
    permission="consents.write",
    refusals=merged(BODY, WRITE, OF_USER, {404: (NOT_FOUND,)}),
)
async def withdraw(
    user_id: FromPath[str], data: JSONBody[Withdrawal], integrator: Integrator, services: Given
) -> Response[None]:
    done = await services.consents.withdraw(integrator, _user(user_id), data.consent_type)
    return Response(None, status_code=204, headers=positioned(done))


@get(
    "/v1/users/{user_id:str}/consents/{consent_id:str}/receipt",
    operation_id="getConsentReceipt",
    tags=["Consent"],
    summary="A signed receipt of one consent, as it is now (ISO/IEC TS 27560)",
    permission="consents.read",
    refusals=merged(OF_USER, {404: (NOT_FOUND,)}),
)
async def receipt(
    user_id: FromPath[str], consent_id: FromPath[str], integrator: Integrator, services: Given
) -> ReceiptShown:
    of_user = _user(user_id)
    found = ConsentId(path_id(PREFIX, consent_id, NOT_FOUND))
    return ReceiptShown(
        receipt=await services.consent_records.receipt(integrator.tenant_id, of_user, found)
    )


def _user(text: str) -> UserId:
    """Raises NotFound (`user_not_found`)."""
    return UserId(path_id(USER, text, "user_not_found"))


def _type(name: str, published: PublishedConsent) -> ConsentTypeShown:
    return ConsentTypeShown(
        consent_type=name,
        version=published.version,
        text_sha256=published.text_sha256,
        published_at=published.published_at,
        before=published.before,
    )


HANDLERS = (types, publish, index, grant, withdraw, receipt)
