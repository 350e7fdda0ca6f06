"""A list of the API from its first page to its last."""

from typing import Any

import httpx


async def every_item(api: httpx.AsyncClient, path: str, **asked: Any) -> list[dict[str, Any]]:
    """The items of all pages, in their order; no page is longer than the `limit` asked for."""
    found: list[dict[str, Any]] = []
    asked = {"limit": 200, **asked}
    while True:
        answer = await api.get(path, params=asked)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["items"]) <= int(asked["limit"])
        found += page["items"]
        if page["next"] is None:
            return found
        asked["cursor"] = page["next"]
