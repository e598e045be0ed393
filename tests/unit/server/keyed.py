"""Callers with keys: a key of any kind, and a client that shows it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from stoker.app.keys import NewKey, create_key
from stoker.app.stoker import Stoker
from tests.unit.server.asking import Answer, Asking


async def new_key(app: Stoker, name: str, *scopes: str, **more: Any) -> NewKey:
    """Make a key as the shell would."""
    return await app.arun(
        lambda store: create_key(
            store, app.clock, actor="cli:eve", name=name, scopes=scopes, **more
        )
    )


@asynccontextmanager
async def asking_with(like: Asking, key: NewKey | str | None) -> AsyncIterator[Asking]:
    """Ask the same application with a key, or without any."""
    asking = Asking(like.api)
    text = key.key if isinstance(key, NewKey) else key
    if text is not None:
        asking.http.headers["authorization"] = f"Bearer {text}"
    async with asking.http:
        yield asking


async def log_in(asking: Asking, key: NewKey) -> dict[str, Any]:
    """Log in; the client keeps the cookie. Returns who one is."""
    answer = await asking.raw("POST", "/login", b'{"key": "%b"}' % key.key.encode())
    me: dict[str, Any] = answer.ok()
    return me


async def change(asking: Asking, path: str, **headers: str) -> Answer:
    """Send a change without a body."""
    return await asking.raw("POST", path, headers=headers)
