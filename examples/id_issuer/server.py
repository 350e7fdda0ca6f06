"""The test issuer over HTTP: key sets for the platform, tokens for whoever tries it out."""

import json
from typing import Any, Final
from urllib.parse import parse_qs

from examples.id_issuer.issuer import PROVIDERS, Issuer

WANTED: Final = ("client_id", "subject", "nonce")


class IdIssuerServer:
    """An ASGI application: `GET /{provider}/jwks.json` and `GET /{provider}/token?…`."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        del receive
        status, answer = self._answer(scope["path"], scope["query_string"].decode("latin-1"))
        body = json.dumps(answer).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, path: str, query: str) -> tuple[int, dict[str, Any]]:
        provider, _, what = path.strip("/").partition("/")
        if provider not in PROVIDERS or what not in ("jwks.json", "token"):
            return 404, {"error": "GET /google/jwks.json, /google/token, and the same of apple"}
        if what == "jwks.json":
            return 200, self._issuer.jwks()
        given = {name: values[0] for name, values in parse_qs(query).items()}
        missing = [name for name in WANTED if not given.get(name)]
        if missing:
            return 400, {"error": f"missing: {', '.join(missing)}"}
        claims = self._issuer.claims(
            provider, given["client_id"], given["subject"], given["nonce"], given.get("email")
        )
        return 200, {"id_token": self._issuer.sign(claims)}
