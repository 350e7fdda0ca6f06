"""What a tenant decides for itself: every setting with its bounds, its default and what it does.

Settings are recorded whole. A field is added with a default; one whose bounds became narrower would
make past settings unreadable, so bounds only grow.
"""

from datetime import timedelta
from typing import Annotated, Literal

import msgspec

from domain.attestation import AttestationPolicy
from domain.errors import Invalid
from domain.matching import MatchPolicy
from domain.password import LENGTH_MAX, PasswordPolicy

AuthMethod = Literal["otp_sms", "otp_email", "password", "google", "apple"]
"""How a tenant's people may sign in (000 §1.5). Accounts at Google and Apple let nobody in
whose app is not among the tenant's `google_client_ids` and `apple_client_ids`."""

KeyType = Literal["p256", "p384", "rsa"]
"""What kind of key a device has: ECDSA over a curve, or RSA of 3072 bits or more."""

Country = Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")]
"""ISO 3166-1 alpha-2."""

ProviderClientId = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9._:-]{1,255}$")]
"""What a provider calls an app of the tenant's: the audience of its ID tokens."""

_said = msgspec.Meta


class TenantSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant decides for itself (000 §1.5; reference broker.md §3.11)."""

    consent_required: Annotated[
        bool, _said(description="a palm is enrolled and served only with consent on record")
    ] = True
    kyc_required: Annotated[
        bool, _said(description="a palm is enrolled and served only when kyc_status is verified")
    ] = False
    audit_enabled: Annotated[
        bool, _said(description="the audit read model and its exports show what happens")
    ] = True
    palm_model: Annotated[
        Literal["large", "small"],
        _said(description="small: a capable device may match by itself and sign what it found"),
    ] = "large"
    match_policy: Annotated[
        MatchPolicy, _said(description="when four scores are a match; its version is ours to count")
    ] = MatchPolicy()
    consent_version: Annotated[
        str,
        _said(min_length=1, max_length=32, description="the version that people must agree to"),
    ] = "1"
    default_deadline_ms: Annotated[
        int, _said(ge=500, le=10_000, description="of a transaction whose device names none")
    ] = 3000
    device_receives_user_id: Annotated[
        bool, _said(description="a transaction's answer tells the device whose palm it was")
    ] = False
    duplicate_palm_check: Annotated[bool, _said(description="no palm may be two people's")] = True
    allowed_countries: Annotated[
        tuple[Country, ...],
        _said(max_length=250, description="whose mobiles may sign up and in; none means all"),
    ] = ()
    access_token_s: Annotated[
        int, _said(ge=60, le=86_400, description="how long a backend's access token lives")
    ] = 900
    webhook_mtls_required: Annotated[
        bool, _said(description="webhooks go out with our client certificate, always")
    ] = True
    auth_methods: Annotated[
        tuple[AuthMethod, ...],
        _said(max_length=5, description="how people may sign in; none means nobody may"),
    ] = ("otp_sms", "otp_email", "password", "google", "apple")
    user_token_s: Annotated[
        int, _said(ge=60, le=3600, description="how long a person's access token lives")
    ] = 600
    session_idle_days: Annotated[
        int, _said(ge=1, le=365, description="a person's session ends when unused for so long")
    ] = 30
    session_days: Annotated[
        int, _said(ge=1, le=365, description="a person's session ends at the latest after that")
    ] = 180
    sessions_max: Annotated[
        int, _said(ge=1, le=200, description="sessions of one person; one more ends the oldest")
    ] = 50
    password_length_min: Annotated[
        int, _said(ge=8, le=64, description="characters that a new password has at least")
    ] = 15
    password_length_max: Annotated[
        int, _said(ge=64, le=LENGTH_MAX, description="characters that it has at most")
    ] = LENGTH_MAX
    password_history: Annotated[
        int, _said(ge=0, le=10, description="passwords, with the present one, not to be had again")
    ] = 0
    password_age_max_days: Annotated[
        int, _said(ge=0, le=3650, description="how long a password counts; 0: it never runs out")
    ] = 0
    password_breach_check: Annotated[
        bool, _said(description="a password that whoever guesses knows is refused")
    ] = True
    google_client_ids: Annotated[
        tuple[ProviderClientId, ...],
        _said(max_length=20, description="whose ID tokens of Google let people in: your apps"),
    ] = ()
    apple_client_ids: Annotated[
        tuple[ProviderClientId, ...],
        _said(max_length=20, description="whose ID tokens of Apple let people in: your apps"),
    ] = ()
    lockout_attempts: Annotated[
        int, _said(ge=3, le=20, description="tries at one address or code from one network")
    ] = 10
    lockout_s: Annotated[
        int, _said(ge=60, le=86_400, description="the time in which lockout_attempts count")
    ] = 900
    sms_per_hour: Annotated[
        int, _said(ge=1, le=1_000_000, description="codes that people may ask for by SMS an hour")
    ] = 2000
    certificate_days: Annotated[
        int, _said(ge=1, le=397, description="how long a device's certificate is good")
    ] = 90
    certificate_renew_percent: Annotated[
        int, _said(ge=10, le=95, description="of its life, after which a device renews it")
    ] = 67
    certificate_key_types: Annotated[
        tuple[KeyType, ...],
        _said(
            min_length=1, max_length=3, description="the kinds of key that a device may bring next"
        ),
    ] = ("p256", "p384", "rsa")
    certificate_lapsed_days: Annotated[
        int, _said(ge=0, le=365, description="how long after its end its key proves the device")
    ] = 30
    certificate_overlap_h: Annotated[
        int, _said(ge=1, le=720, description="how long the older of two certificates stays good")
    ] = 24
    dpop_nonce_required: Annotated[
        bool, _said(description="proofs of possession (DPoP) hold a nonce of ours (RFC 9449 §8)")
    ] = False
    operator_second_factor_required: Annotated[
        bool, _said(description="a tenant's operators need a second factor, as its admins do")
    ] = True
    heartbeat_s: Annotated[
        int, _said(ge=10, le=3600, description="how often a device says that it is there")
    ] = 60
    attestation: Annotated[
        AttestationPolicy, _said(description="what hardware must prove of a device's key")
    ] = AttestationPolicy()
    session_record_days: Annotated[
        int, _said(ge=1, le=365, description="how long the record of an ended session is kept")
    ] = 30
    product_text_days: Annotated[
        int,
        _said(
            ge=0,
            le=3650,
            description="how long a product's words are kept; 0: until the person's erasure",
        ),
    ] = 0


def password_policy(settings: TenantSettings) -> PasswordPolicy:
    """What the passwords of the tenant's people must be."""
    return PasswordPolicy(
        length_min=settings.password_length_min,
        length_max=settings.password_length_max,
        history=settings.password_history,
        age_max_days=settings.password_age_max_days,
        breach_check=settings.password_breach_check,
    )


class RetentionPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How long is kept what nobody needs any more. `product_texts` None: until the erasure."""

    session_records: timedelta
    product_texts: timedelta | None


def retention_policy(settings: TenantSettings) -> RetentionPolicy:
    """How long the tenant has things kept about its people."""
    texts = settings.product_text_days
    return RetentionPolicy(
        session_records=timedelta(days=settings.session_record_days),
        product_texts=timedelta(days=texts) if texts else None,
    )


def check(settings: TenantSettings) -> None:
    """What no bound of one field says. Raises Invalid (`settings_invalid`)."""
    if settings.session_idle_days > settings.session_days:
        raise Invalid("settings_invalid", "session_idle_days is more than session_days")
    for name, values in (
        ("auth_methods", settings.auth_methods),
        ("certificate_key_types", settings.certificate_key_types),
        ("allowed_countries", settings.allowed_countries),
        ("google_client_ids", settings.google_client_ids),
        ("apple_client_ids", settings.apple_client_ids),
    ):
        if len(set(values)) != len(values):
            raise Invalid("settings_invalid", f"{name} names something twice")
