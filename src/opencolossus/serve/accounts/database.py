"""Opening the database: SQLite in a file, or PostgreSQL by URL; migrations on the way."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import (
    TimeoutError as PoolTimeoutError,
)
from sqlalchemy.orm import Session, sessionmaker

from opencolossus.specs.errors import UserError

MIGRATIONS = Path(__file__).parent / "migrations"


def default_url() -> str:
    """``$COLOSSUS_DATABASE``, or a file in the user's data folder."""
    given = os.environ.get("COLOSSUS_DATABASE")
    if given:
        return given
    base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return f"sqlite:///{base / 'colossus' / 'serve.db'}"


class Database:
    """A migrated database and its sessions."""

    def __init__(self, url: str) -> None:
        """Open and migrate.

        Raises:
            UserError: the URL is no database URL, or the database cannot be reached or written.
        """
        self.url = _parse(url)
        self.engine = _engine(self.url)
        try:
            _migrate(self.engine)
        except CommandError as error:
            raise UserError(
                f"database {self.shown()} was written by a newer version of colossus: {error}"
            ) from None
        except SQLAlchemyError as error:
            raise UserError(f"database {self.shown()} cannot be opened: {_reason(error)}") from None
        # SQLite lets one write at a time, and who waits looks again only after milliseconds.
        one_file = self.url.get_backend_name() == "sqlite"
        self._turn: AbstractContextManager[object] = threading.Lock() if one_file else nullcontext()
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        reading = self.engine.execution_options(colossus_reading=True)
        self._readers = sessionmaker(reading, expire_on_commit=False)

    def shown(self) -> str:
        """The URL without its password."""
        return self.url.render_as_string(hide_password=True)

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """One transaction: committed at the end, rolled back by an exception."""
        with self._turn, self._sessions.begin() as session:
            yield session

    def wipe(self) -> None:
        """Let nothing of what was deleted stay in SQLite's log of changes."""
        if self.url.get_backend_name() == "sqlite":
            connection = self.engine.raw_connection()  # no transaction is begun
            with closing(connection), suppress(sqlite3.OperationalError):
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One transaction that changes nothing, and waits for no writer."""
        with self._readers() as session:
            yield session

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _parse(text: str) -> URL:
    try:
        url = make_url(text)
        url.get_dialect()
    except (ArgumentError, NoSuchModuleError):
        raise UserError(
            f"database {text.split('@')[-1]!r} is no database URL; valid are "
            "sqlite:///path/to/file.db and postgresql://user@host/name"
        ) from None
    name = url.get_backend_name()
    if name == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if name != "sqlite":
        raise UserError(f"database kind {name!r} is not supported; valid are sqlite and postgresql")
    if not url.database or url.database == ":memory:":
        raise UserError("a SQLite database needs a file: sqlite:///path/to/file.db")
    return url


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        folder = Path(url.database or "").parent
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise UserError(f"folder {folder} cannot be made: {error.strerror}") from None
        _make_private(Path(url.database or ""))
        engine = create_engine(url, connect_args={"timeout": 30})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    try:
        # pre_ping: a connection that died while PostgreSQL restarted is replaced unseen.
        return create_engine(
            url, pool_pre_ping=True, pool_size=10, max_overflow=20, pool_timeout=10,
            connect_args={"connect_timeout": 5, "client_encoding": "utf8"},
        )  # fmt: skip
    except ModuleNotFoundError:
        raise UserError(
            "PostgreSQL needs the package psycopg; install opencolossus[postgres]"
        ) from None


def _make_private(file: Path) -> None:
    """Make a new database for its owner's eyes alone; its other files follow it."""
    with suppress(OSError):  # SQLite itself says what is wrong
        os.close(os.open(file, os.O_CREAT | os.O_EXCL, 0o600))


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # Transactions are begun below: the driver would begin them late, after the first read.
    connection.isolation_level = None
    wanted = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "secure_delete=ON")
    for pragma in wanted:
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Any) -> None:
    # IMMEDIATE: a reader that turns writer would fail at once where another has written since.
    reading = connection.get_execution_options().get("colossus_reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    if script.get_current_head() is None:
        raise UserError("the installation is damaged: its database migrations are missing")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _reason(error: SQLAlchemyError) -> str:
    original = getattr(error, "orig", None) or error
    return str(original).strip().splitlines()[0]


def is_outage(error: SQLAlchemyError) -> bool:
    """Whether the database is away, full or overrun, rather than asked something wrong."""
    return isinstance(error, OperationalError | InterfaceError | PoolTimeoutError)
