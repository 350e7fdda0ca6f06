"""A palm scan on the wire: two images in base64, decoded once and never logged."""

import base64
import binascii
import hashlib
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec

from application.ports import Scan
from domain.errors import Refusal

FORMAT: Final = "biowave.rgb_ir.v1"

Image = Annotated[str, msgspec.Meta(max_length=1_400_000)]


class ScanRefused(Refusal):
    status = 400


class ScanFormatRefused(Refusal):
    status = 415


class Liveness(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How sure the device is that the palm is alive, by which of its models."""

    score: Annotated[float, msgspec.Meta(ge=0, le=1)]
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None


class ScanBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the device captured (reference broker.md §3.0). Images are base64 of encoded files."""

    format: Annotated[str, msgspec.Meta(max_length=64)]
    rgb: Image = ""
    ir: Image = ""
    hand: Literal["left", "right", "unknown"] = "unknown"
    features: dict[str, Any] | None = None
    quality: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    liveness: Liveness | None = None
    captured_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


def read_scan(body: ScanBody, *, images_required: bool = True) -> Scan:
    """Raises ScanFormatRefused (`unsupported_scan_format`) and ScanRefused (`scan_invalid`)."""
    if body.format != FORMAT:
        raise ScanFormatRefused("unsupported_scan_format", f"only {FORMAT}")
    try:
        rgb = base64.b64decode(body.rgb, validate=True)
        ir = base64.b64decode(body.ir, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ScanRefused("scan_invalid", "rgb and ir are base64") from error
    if images_required and not (rgb and ir):
        raise ScanRefused("scan_invalid", "both rgb and ir are wanted")
    digest = hashlib.sha256(len(rgb).to_bytes(8, "big") + rgb + ir)
    if body.features is not None:
        digest.update(msgspec.json.encode(body.features, order="sorted"))
    return Scan(
        format=body.format,
        rgb=rgb,
        ir=ir,
        hand=body.hand,
        sha256=digest.hexdigest(),
        quality=body.quality,
        liveness=None if body.liveness is None else body.liveness.score,
        captured_at=body.captured_at,
    )
