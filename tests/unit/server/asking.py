"""How these tests ask the server: short words, and every answer looked at for its shape."""

import json
from typing import Any

import httpx2
from fastapi import FastAPI

V1 = "/api/v1"


class Answer:
    """One response."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self.status = response.status_code
        self.headers = response.headers
        self.text = response.text

    @property
    def json(self) -> Any:
        return self.response.json()

    def ok(self, status: int = 200) -> Any:
        """Return the body of an answer that must have this status."""
        assert self.status == status, f"{self.status}: {self.text}"
        return self.json

    def refused(self, status: int, code: str) -> dict[str, Any]:
        """Return the error of an answer that must have this status, code and shape."""
        assert self.status == status, f"{self.status}: {self.text}"
        assert set(self.json) == {"error"}
        error: dict[str, Any] = self.json["error"]
        assert set(error) == {"code", "message", "details"}
        assert error["code"] == code, error
        assert error["message"]
        return error


class Asking:
    """A client of one application, in this process."""

    def __init__(self, api: FastAPI, *, host: str = "localhost:8000") -> None:
        transport = httpx2.ASGITransport(app=api, client=("10.1.2.3", 4321))
        self.api = api
        self.http = httpx2.AsyncClient(transport=transport, base_url=f"http://{host}")

    async def get(self, path: str, **query: Any) -> Answer:
        return Answer(await self.http.get(_full(path), params=query))

    async def post(self, path: str, body: Any = None) -> Answer:
        return await self.send("POST", path, body)

    async def patch(self, path: str, body: Any) -> Answer:
        return await self.send("PATCH", path, body)

    async def delete(self, path: str) -> Answer:
        return await self.send("DELETE", path)

    async def send(self, method: str, path: str, body: Any = None) -> Answer:
        data = None if body is None else json.dumps(body).encode()
        return await self.raw(method, path, data)

    async def raw(
        self,
        method: str,
        path: str,
        data: Any = None,
        *,
        content_type: str | None = "application/json",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        given = dict(headers or {})
        if data is not None and content_type is not None:
            given["content-type"] = content_type
        answer = await self.http.request(method, _full(path), content=data, headers=given)
        return Answer(answer)


def _full(path: str) -> str:
    return (
        path
        if path.startswith(("/api/", "/docs", "/openapi", "/gateway")) or path in _ROOT
        else V1 + path
    )


_ROOT = {"/", "/health", "/ready", "/metrics", "/nowhere", "/login", "/logout"}
