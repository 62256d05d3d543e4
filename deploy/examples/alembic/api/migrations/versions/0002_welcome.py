"""A first note, so that there is something to warm the cache with."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.execute("INSERT INTO notes (text) VALUES ('a migration wrote this note')")


def downgrade():
    op.execute("DELETE FROM notes WHERE text = 'a migration wrote this note'")
