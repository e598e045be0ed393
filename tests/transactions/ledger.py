"""Tasks that write a row in the transaction of their job. Child processes import them from here."""

import contextlib
from typing import Any

import psycopg

from stoker.core.context import JobContext, current_job
from stoker.core.task import Registry, Task, TaskOptions
from stoker.worker.source import TaskSource

INSERT = "INSERT INTO shop_orders (name) VALUES ('{}')"


def book(order: str) -> str:
    with current_job().transaction() as db:
        write(db, order)
    return f"booked {order}"


async def abook(order: str) -> str:
    async with current_job().transaction() as db:
        await awrite(db, order)
    return f"booked {order}"


def write(db: Any, order: str) -> None:
    statement = INSERT.format(order)
    db.execute(statement.encode() if isinstance(db, psycopg.Connection) else statement)


async def awrite(db: Any, order: str) -> None:
    statement = INSERT.format(order)
    if isinstance(db, psycopg.AsyncConnection):
        await db.execute(statement.encode())
    else:
        db.execute(statement)


def inside_and_out(order: str) -> str:
    with current_job().transaction() as db:
        write(db, order)
    raise ValueError("after the block")


def two(order: str) -> str:
    job: JobContext = current_job()
    with contextlib.suppress(ZeroDivisionError), job.transaction() as db:
        write(db, "never")
        write(db, str(1 // 0))
    with job.transaction() as db:
        write(db, order)
    return order


def nested(order: str) -> str:
    with current_job().transaction(), current_job().transaction():
        return order


def commits(order: str) -> str:
    with current_job().transaction() as db:
        write(db, order)
        if isinstance(db, psycopg.Connection):
            db.commit()
        else:
            db.execute("COMMIT")
    return order


async def plain_with(order: str) -> str:
    with current_job().transaction():
        return order


def unwritable(order: str) -> object:
    with current_job().transaction() as db:
        write(db, order)
    return object()


def registry() -> Registry:
    """Return the tasks: each as it is, and the first one in a child process too."""
    found = Registry()
    for fn in (book, inside_and_out, two, nested, commits, unwritable):
        found.add(Task(fn, name=fn.__name__, options=TaskOptions(run_in="thread")))
    for coroutine in (abook, plain_with):
        found.add(Task(coroutine, name=coroutine.__name__, options=TaskOptions(run_in="async")))
    for fn, name in ((book, "book_apart"), (abook, "abook_apart")):
        found.add(Task(fn, name=name, options=TaskOptions(run_in="process")))
    return found


def load(source: TaskSource) -> Registry:
    """Rebuild the tasks in a child process."""
    return registry()
