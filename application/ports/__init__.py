"""What the application needs from the world, said in our own words."""

from application.ports.budgets import RateLimiter
from application.ports.credentials import (
    AccessToken,
    AccessTokens,
    Digests,
    IssuedToken,
    PublicKeys,
    Secrets,
)
from application.ports.devices import (
    CertificateAuthority,
    CertificateRequest,
    DeviceSignatures,
    IssuedCertificate,
    Revocations,
)
from application.ports.log import Appended, CommitFailed, EventLog, StaleStream, Streams
from application.ports.palms import (
    Candidates,
    PalmQueryForbidden,
    PalmRejected,
    PalmVendorFailed,
    PalmVerifier,
    Scan,
)
from application.ports.people import (
    EnrollmentGrants,
    OtpAttempt,
    OtpChallenge,
    OtpChallenges,
    OtpSender,
    PersonalData,
    PhoneNumbers,
)
from application.ports.products import (
    AssertionSigner,
    AuthorizeCall,
    Authorized,
    AuthorizeFailed,
    AuthorizeFailure,
    CanonicalJSON,
    EgressPolicy,
    LinkedServiceGateway,
)
from application.ports.time_and_chance import Clock, IdSource

__all__ = [
    "AccessToken",
    "AccessTokens",
    "Appended",
    "AssertionSigner",
    "AuthorizeCall",
    "AuthorizeFailed",
    "AuthorizeFailure",
    "Authorized",
    "Candidates",
    "CanonicalJSON",
    "CertificateAuthority",
    "CertificateRequest",
    "Clock",
    "CommitFailed",
    "DeviceSignatures",
    "Digests",
    "EgressPolicy",
    "EnrollmentGrants",
    "EventLog",
    "IdSource",
    "IssuedCertificate",
    "IssuedToken",
    "LinkedServiceGateway",
    "OtpAttempt",
    "OtpChallenge",
    "OtpChallenges",
    "OtpSender",
    "PalmQueryForbidden",
    "PalmRejected",
    "PalmVendorFailed",
    "PalmVerifier",
    "PersonalData",
    "PhoneNumbers",
    "PublicKeys",
    "RateLimiter",
    "Revocations",
    "Scan",
    "Secrets",
    "StaleStream",
    "Streams",
]
