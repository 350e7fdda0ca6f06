"""What the command line says of what takes two people."""

from typing import Any

import rich_click as click

from domain.approval import Approval
from domain.ids import ApprovalId, parse, wire
from interfaces.cli.session import WrongArgument

approval_option = click.option(
    "--approval", help="What somebody else agreed to; without it, one is asked for."
)


def approval_of(text: str) -> ApprovalId:
    """Raises WrongArgument for what is not `apr_…`."""
    found = parse("apr", text)
    if found is None:
        raise WrongArgument(f"{text!r} is not an approval's id (apr_…)")
    return ApprovalId(found)


def asked(approval: Approval) -> dict[str, Any]:
    """What is told of one that was asked for: for whoever agrees, and until when."""
    return {
        "approval_id": wire("apr", approval.id),
        "expires_at": approval.expires_at.isoformat(),
    }
