"""The connection to Postgres: a pool, the named queries, and errors in the house's own words."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from atlas.schema.errors import StaleVersion, StoreError, StoreUnavailable
from atlas.store.migrate import migrate

if TYPE_CHECKING:
    import asyncpg

    from atlas.store.embedded import Embedded

ROW_FAULTS = ("22", "23", "54")
"""SQLSTATE classes (data exception, integrity violation, limit exceeded) that say the row itself is at fault."""
ONLY_ONCE = "claim"
"""The one query whose repetition does not mean the same."""
ACQUIRE_PATIENCE_S = 30.0
"""How long a query waits for one of the connections."""
STALE = "ATL01"
"""SQLSTATE that `atlas_commit` raises when a playbook's version is not the next one."""


class RowRefused(StoreError):
    """The database rejects the data itself; trying again would not help."""


@cache
def queries() -> Mapping[str, str]:
    """The statements of the files in `sql/` by name."""
    folder = files("atlas.store").joinpath("sql")
    text = "".join(file.read_text("utf-8") for file in folder.iterdir() if file.name.endswith(".sql"))
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def address(url: str) -> str:
    """Host and database of a URL, without user and password."""
    parts = urlsplit(url)
    host = parse_qs(parts.query).get("host", [""])[0] or parts.netloc.rpartition("@")[2] or "localhost"
    return f"{host}{parts.path}"


class Database:
    """A pool of connections to one database. An own server that died is started again before the next try."""

    def __init__(self, url: str, pool: asyncpg.Pool, embedded: Embedded | None) -> None:
        self.address = address(url)
        self._pool = pool
        self._embedded = embedded
        self.days: set[int] = set()
        """Days since 1970 for whose week there is a partition."""

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        embedded: Embedded | None,
        sizes: tuple[int, int],
        statement_timeout_s: float,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> Database:
        """Open a pool of between `sizes` connections, each with these server settings beside our own.

        Raises:
            StoreUnavailable: the database cannot be reached, or refuses this user.
        """
        import asyncpg

        ours = {
            "statement_timeout": str(int(statement_timeout_s * 1000)),
            "application_name": "atlas",
            "jit": "off",
        }
        try:
            pool = await asyncpg.create_pool(
                url,
                min_size=0,  # asyncpg would restore a floor in the background, with a traceback for each failure.
                max_size=max(sizes),
                max_inactive_connection_lifetime=0.0,
                server_settings={**ours, **settings},
                reset=_keep_as_it_is,
                timeout=10.0,
                command_timeout=statement_timeout_s + 5.0,
            )
            warm = [await pool.acquire() for _ in range(min(sizes))]
            for connection in warm:
                await pool.release(connection)
        except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise unavailable(address(url), error) from error
        return cls(url, pool, embedded)

    @staticmethod
    async def prepare(url: str) -> int:
        """Bring the schema up to date, on a connection of its own; returns how many steps were applied.

        Raises:
            StoreUnavailable: the database cannot be reached, or refuses this user.
            StoreError: its schema is not ours.
        """
        import asyncpg

        try:
            connection = await asyncpg.connect(url, timeout=10.0)
            try:
                return await migrate(connection)
            finally:
                await connection.close()
        except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise unavailable(address(url), error) from error

    async def rows(self, name: str, *args: object) -> list[asyncpg.Record]:
        """The rows of a named query, in one round trip. A connection found dead is replaced and the query sent again.

        Raises:
            StoreError: StoreUnavailable, StaleVersion, RowRefused, or what else the database says.
        """
        import asyncpg

        try:
            return await self._fetch(name, args)
        except (ConnectionError, asyncpg.PostgresConnectionError, asyncpg.InternalClientError) as error:
            if name == ONLY_ONCE:
                raise unavailable(self.address, error) from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise self._named(error) from error
        await self.revive()
        await self._pool.expire_connections()  # Where one is dead the others may be: the server ended.
        try:
            return await self._fetch(name, args)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            raise self._named(error) from error

    async def _fetch(self, name: str, args: tuple[object, ...]) -> list[asyncpg.Record]:
        import asyncpg

        async with self._pool.acquire(timeout=ACQUIRE_PATIENCE_S) as connection:
            try:
                return await connection.fetch(queries()[name], *args)
            except asyncpg.InternalClientError:  # It was told of the server's death but has not seen its end yet.
                connection.terminate()
                raise

    async def value(self, name: str, *args: object) -> Any:
        """The first column of the first row; None where there is none."""
        found = await self.rows(name, *args)
        return found[0][0] if found else None

    async def revive(self) -> None:
        """Start the own server again where it died; a given database is left to its owner.

        Raises:
            StoreUnavailable: it does not start.
        """
        if self._embedded is not None:
            await self._embedded.ensure()

    async def close(self) -> None:
        """Close the connections and give the server back."""
        try:
            await asyncio.wait_for(self._pool.close(), timeout=5.0)
        except TimeoutError:
            self._pool.terminate()
        if self._embedded is not None:
            await self._embedded.close()

    def _named(self, error: Exception) -> StoreError:
        import asyncpg

        state = str(getattr(error, "sqlstate", None) or "")
        if state == STALE:
            return StaleVersion(f"Somebody else wrote a newer playbook first ({getattr(error, 'detail', '')}).")
        if state[:2] in ROW_FAULTS or isinstance(error, asyncpg.DataError):
            return RowRefused(f"The database refuses the data: {_line(error)}.")
        return unavailable(self.address, error)


async def _keep_as_it_is(connection: object) -> None:
    """No statement of ours changes a connection's state, so none is needed to reset it: a round trip saved."""


def unavailable(where: str, error: Exception) -> StoreUnavailable:
    """The error of a database that does not serve, with what a person can do about it."""
    if isinstance(error, ValueError):  # Its text may quote the address, password included.
        return StoreUnavailable("The database's address is not understood.", "Give postgresql://user@host:5432/name.")
    state = str(getattr(error, "sqlstate", None) or "")
    remedy = "Check storage.database_url and that the server runs, or remove it to use the embedded database."
    if state[:2] == "28":
        remedy = "Check the user and password in storage.database_url."
    elif state == "57014":
        remedy = "Raise storage.statement_timeout_seconds."
    elif state == "53300":
        remedy = "Lower storage.max_connections, or raise the server's max_connections."
    return StoreUnavailable(f"The database {where} does not serve: {_line(error)}.", remedy)


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
