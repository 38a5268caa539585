"""The tables. Times are seconds since 1970 (UTC)."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Identifier = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only where the key is INTEGER."""


class Base(DeclarativeBase):
    """Base of the tables; names of constraints are fixed so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class User(Base):
    """A subscriber."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    """Case-folded."""
    password: Mapped[str | None] = mapped_column(String(255))
    """Argon2id hash; None for a user who comes with API keys only."""
    tier: Mapped[str] = mapped_column(String(32))
    disabled: Mapped[bool] = mapped_column(Boolean, default=False)
    created: Mapped[float] = mapped_column(Double)


class ApiKey(Base):
    """A key for the API. Only its digest is kept."""

    __tablename__ = "api_keys"

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(64))
    hint: Mapped[str] = mapped_column(String(16))
    """The beginning of the key, to tell keys apart."""
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    """SHA-256. Keys are 256 random bits, so nothing slower is needed."""
    created: Mapped[float] = mapped_column(Double)
    expires: Mapped[float | None] = mapped_column(Double)
    used: Mapped[float | None] = mapped_column(Double)


class Session(Base):
    """A browser that has signed in. Only the digest of its cookie is kept."""

    __tablename__ = "sessions"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created: Mapped[float] = mapped_column(Double)
    expires: Mapped[float] = mapped_column(Double)


class Usage(Base):
    """One request and what it cost. While it runs, ``completion_tokens`` is what it may cost."""

    __tablename__ = "usage"
    __table_args__ = (Index("ix_usage_user_id_started", "user_id", "started"),)

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    started: Mapped[float] = mapped_column(Double)
    finished: Mapped[float | None] = mapped_column(Double)
    model: Mapped[str] = mapped_column(String(255))
    prompt_tokens: Mapped[int] = mapped_column(Integer)
    completion_tokens: Mapped[int] = mapped_column(Integer)
    outcome: Mapped[str | None] = mapped_column(String(16))
    """``stop``, ``length``, ``cancelled`` or ``error``."""


class Conversation(Base):
    """A conversation on the page."""

    __tablename__ = "conversations"
    __table_args__ = (Index("ix_conversations_user_id_updated", "user_id", "updated"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    title: Mapped[str] = mapped_column(String(200))
    system: Mapped[str] = mapped_column(Text, default="")
    temperature: Mapped[float | None] = mapped_column(Double)
    created: Mapped[float] = mapped_column(Double)
    updated: Mapped[float] = mapped_column(Double)


class Message(Base):
    """One turn of a conversation."""

    __tablename__ = "messages"
    __table_args__ = (UniqueConstraint("conversation_id", "place"),)

    id: Mapped[int] = mapped_column(Identifier, primary_key=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"))
    place: Mapped[int] = mapped_column(Integer)
    """0, 1, 2, ... within the conversation."""
    role: Mapped[str] = mapped_column(String(16))
    content: Mapped[str] = mapped_column(Text)
    finish: Mapped[str | None] = mapped_column(String(16))
    """Of an answer: ``stop``, ``length``, ``cancelled`` or ``error``."""
    created: Mapped[float] = mapped_column(Double)
