"""The web app: uvicorn app.main:app"""

import os

import sqlalchemy as sa
from fastapi import FastAPI
from pydantic import BaseModel

from app import cache
from app.database import engine, notes
from app.tasks import count_notes

app = FastAPI()


class Note(BaseModel):
    text: str


@app.get("/")
def home():
    with engine.connect() as connection:
        texts = connection.scalars(sa.select(notes.c.text).order_by(notes.c.id)).all()
    return {"release": os.environ.get("SUPERVISOR_RUN_ID"), "notes": texts, "cache": cache.read()}


@app.post("/notes", status_code=201)
def add(note: Note):
    with engine.begin() as connection:
        connection.execute(sa.insert(notes).values(text=note.text))
    count_notes.delay()
    return note


@app.get("/health")
def health():
    with engine.connect() as connection:
        connection.execute(sa.select(notes.c.id).limit(1))
    return {"ok": True}
