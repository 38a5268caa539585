"""Users, keys, sessions, usage and conversations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

IDENTIFIER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _user(index: bool = False) -> sa.Column[int]:
    key = sa.ForeignKey("users.id", ondelete="CASCADE")
    return sa.Column("user_id", IDENTIFIER, key, nullable=False, index=index)


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", IDENTIFIER, primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("password", sa.String(255)),
        sa.Column("tier", sa.String(32), nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.UniqueConstraint("name", name="uq_users_name"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", IDENTIFIER, primary_key=True),
        _user(index=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("hint", sa.String(16), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("expires", sa.Double),
        sa.Column("used", sa.Double),
        sa.UniqueConstraint("digest", name="uq_api_keys_digest"),
    )
    op.create_table(
        "sessions",
        sa.Column("digest", sa.String(64), primary_key=True),
        _user(index=True),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("expires", sa.Double, nullable=False),
    )
    op.create_table(
        "usage",
        sa.Column("id", IDENTIFIER, primary_key=True),
        _user(),
        sa.Column("started", sa.Double, nullable=False),
        sa.Column("finished", sa.Double),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("prompt_tokens", sa.Integer, nullable=False),
        sa.Column("completion_tokens", sa.Integer, nullable=False),
        sa.Column("outcome", sa.String(16)),
    )
    op.create_index("ix_usage_user_id_started", "usage", ["user_id", "started"])
    _conversations()


def _conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.String(32), primary_key=True),
        _user(),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("system", sa.Text, nullable=False),
        sa.Column("temperature", sa.Double),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("updated", sa.Double, nullable=False),
    )
    op.create_index("ix_conversations_user_id_updated", "conversations", ["user_id", "updated"])
    key = sa.ForeignKey("conversations.id", ondelete="CASCADE")
    op.create_table(
        "messages",
        sa.Column("id", IDENTIFIER, primary_key=True),
        sa.Column("conversation_id", sa.String(32), key, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("finish", sa.String(16)),
        sa.Column("created", sa.Double, nullable=False),
        sa.UniqueConstraint("conversation_id", "place", name="uq_messages_conversation_id_place"),
    )


def downgrade() -> None:
    for table in ("messages", "conversations", "usage", "sessions", "api_keys", "users"):
        op.drop_table(table)
