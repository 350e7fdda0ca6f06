"""What every origin begins with: said once, kept for good."""

from typing import Final, LiteralString

from infrastructure.database import Pool

_SETTLE: Final[LiteralString] = """
    INSERT INTO public.transparency_origin (prefix) VALUES (%s) ON CONFLICT DO NOTHING"""
_SETTLED: Final[LiteralString] = "SELECT prefix FROM public.transparency_origin"


class OriginChanged(Exception):
    """The logs of this database are called otherwise, in checkpoints that others hold."""


async def settled_prefix(projector: Pool, default: str, wanted: str | None) -> str:
    """The prefix of this database's logs: whoever comes first says it, with `wanted` or `default`.

    Raises OriginChanged when `wanted` is another one; a default that changed is passed over.
    """
    async with projector.connection() as connection:
        await connection.execute(_SETTLE, (wanted or default,))
        found = await (await connection.execute(_SETTLED)).fetchone()
    assert found is not None, "inserted just now, or before"
    if wanted is not None and found[0] != wanted:
        raise OriginChanged(
            f"the transparency logs of this database are called {found[0]}/..., not {wanted}/...: "
            f"set LINK_LOG_ORIGIN={found[0]}, since a log cannot be renamed"
        )
    return str(found[0])
