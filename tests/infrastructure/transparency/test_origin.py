"""The name of the logs is settled once and for all processes."""

import pytest

from infrastructure.transparency.origin import OriginChanged, settled_prefix
from tests.infrastructure.transparency.stage import Stage


async def test_the_first_start_settles_it(stage: Stage) -> None:
    assert await settled_prefix(stage.projector, "localhost:8443", None) == "localhost:8443"
    assert await settled_prefix(stage.projector, "localhost:9443", None) == "localhost:8443"
    same = await settled_prefix(stage.projector, "localhost:9443", "localhost:8443")
    assert same == "localhost:8443"


async def test_a_log_is_not_renamed(stage: Stage) -> None:
    assert await settled_prefix(stage.projector, "localhost:1", "id.example/audit")
    with pytest.raises(OriginChanged, match=r"LINK_LOG_ORIGIN=id\.example/audit"):
        await settled_prefix(stage.projector, "localhost:1", "id.example")
