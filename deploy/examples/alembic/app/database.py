"""The database, and the folder with everything else that lasts."""

import os
from pathlib import Path

import sqlalchemy as sa

data = Path(os.environ.get("DATA_DIR") or Path(__file__).resolve().parent.parent / "data").resolve()
data.mkdir(parents=True, exist_ok=True)

engine = sa.create_engine(os.environ.get("DATABASE_URL") or f"sqlite:///{data / 'app.db'}")
metadata = sa.MetaData()
notes = sa.Table(
    "notes", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("text", sa.Text, nullable=False)
)
