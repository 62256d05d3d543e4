"""The worker's side: celery --app app.tasks worker. Its queue is a folder, in place of a message broker."""

import sqlalchemy as sa
from celery import Celery

from app import cache
from app.database import data, engine, notes

queue = data / "queue"
for name in ("messages", "control"):
    (queue / name).mkdir(parents=True, exist_ok=True)

app = Celery("example", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": str(queue / "messages"),
        "data_folder_out": str(queue / "messages"),
        "control_folder": str(queue / "control"),
    },
    task_ignore_result=True,
    worker_hijack_root_logger=False,
)


@app.task
def count_notes():
    with engine.connect() as connection:
        cache.write(counted=connection.scalar(sa.select(sa.func.count()).select_from(notes)))
