"""What a command's end means to a script: 0 done, 1 refused, 2 could not run."""

from collections.abc import Callable

import psycopg
import rich_click as click

from domain.errors import Refusal
from infrastructure.attestation.roots import RootsUnreadable
from infrastructure.attestation.status_list import StatusListUnreadable
from infrastructure.durability import UnsafePostgres
from infrastructure.edge.listeners import ListenerFailed
from infrastructure.embedded.account import ServerUnusable
from infrastructure.event_log.mapper import UnknownEvent
from infrastructure.event_log.positions import LogGap
from infrastructure.event_log.session import ConnectionLost
from infrastructure.fleet.authority import PlatformCAUnusable
from infrastructure.keys.key_rotation import RotationRefused
from infrastructure.keys.keyring import KeyringUnusable
from infrastructure.keys.signing_keys import SigningKeyUnusable
from infrastructure.messages.sms_gateway import SmsGatewayMisconfigured
from infrastructure.migrate import MigrationRefused
from infrastructure.projections.tables import ReadModelChanged
from infrastructure.transparency.origin import OriginChanged
from interfaces.cli.output import notice
from interfaces.cli.session import WrongArgument
from interfaces.environment import SettingsInvalid
from interfaces.servers import RedisRequired

CANNOT_RUN = (
    ConnectionLost,
    LogGap,
    PlatformCAUnusable,
    ReadModelChanged,
    SettingsInvalid,
    SigningKeyUnusable,
    SmsGatewayMisconfigured,
    UnknownEvent,
    ServerUnusable,
    KeyringUnusable,
    MigrationRefused,
    OriginChanged,
    UnsafePostgres,
    RedisRequired,
    RootsUnreadable,
    StatusListUnreadable,
    ListenerFailed,
    psycopg.Error,
    TimeoutError,
)


def exit_code(command: Callable[[], object]) -> int:
    """Run the command; what refused it, or kept it from running, is told in one line."""
    try:
        command()
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        return 130
    except (Refusal, WrongArgument, RotationRefused) as error:
        detail = getattr(error, "detail", None)
        notice(f"refused: {error}" + (f" ({detail})" if detail else ""))
        return 1
    except CANNOT_RUN as error:
        notice(f"cannot run: {error}")
        return 2
    return 0
