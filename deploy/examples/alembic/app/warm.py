"""Fills the cache from the database: python -m app.warm"""

import sqlalchemy as sa

from app import cache
from app.database import engine, notes


def main():
    with engine.connect() as connection:
        texts = connection.scalars(sa.select(notes.c.text).order_by(notes.c.id)).all()
    cache.write(warmed=list(texts))
    print(f"cache warmed with {len(texts)} notes")


if __name__ == "__main__":
    main()
