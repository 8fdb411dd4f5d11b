"""The application: a page of three kinds of files, and the API under /api/."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from jointreid.messages.errors import JointreidError
from jointreid.serve import schema
from jointreid.serve.guard import Application, Guard
from jointreid.serve.service import ClientMistake, Service
from jointreid.serve.worker import Busy, Worker

LOG = logging.getLogger("jointreid.serve")
SCHEMA = "/api/openapi.json"

PAGE = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/client.js": ("client.js", "text/javascript; charset=utf-8"),
    "/scene.js": ("scene.js", "text/javascript; charset=utf-8"),
    "/people.js": ("people.js", "text/javascript; charset=utf-8"),
}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": schema.ErrorAnswer, "description": text}
    for status, text in {
        400: "a mistake in the request",
        401: "the token is missing or wrong",
        403: "a page of another site asks, or the server is read-only",
        413: "the image has too many bytes",
        422: "a field is missing or of another kind",
        429: "too many requests from one address",
        503: "too many requests at once",
    }.items()
}


def guarded_app(service: Service) -> Application:
    """Return the whole application: what answers, behind what refuses.

    Raises:
        JointreidError: FastAPI is missing.
    """
    return Guard(_api(service), service.settings)


def _api(service: Service) -> Any:
    """Return the FastAPI application."""
    from jointreid.machine.extras import library

    fastapi = library("fastapi", "a gallery is served", "serve")
    worker = Worker(service.settings.max_queue)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        yield
        worker.close()

    security = [fastapi.Depends(fastapi.security.HTTPBearer(auto_error=False))] if service.settings.token else []
    app = fastapi.FastAPI(
        title="jointreid",
        version=version("jointreid"),
        description="Who is in an image, among the people of a gallery. Nothing sent is kept, unless it is added.",
        openapi_url=SCHEMA,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        dependencies=security,
        responses=_REFUSALS,
    )
    _add_api(app, service, worker)
    _add_page(app)
    _add_errors(app)
    return app


def _add_api(app: Any, service: Service, worker: Worker) -> None:
    from fastapi import HTTPException
    from starlette.concurrency import run_in_threadpool

    def require_changes() -> None:
        if service.settings.read_only:
            raise HTTPException(403, "the server is read-only")

    @app.get("/api/info")  # type: ignore[untyped-decorator]
    async def info() -> schema.InfoAnswer:
        """Return what is in the gallery, and the limits of the server."""
        return await run_in_threadpool(service.info)

    @app.post("/api/search")  # type: ignore[untyped-decorator]
    async def search(asked: schema.SearchRequest) -> schema.SearchAnswer:
        """Return the nearest people to each box of an image, or to all of it."""
        described = await worker.run(lambda: service.describe(asked.image, asked.boxes))
        return await run_in_threadpool(service.search, described, asked)

    @app.post("/api/add")  # type: ignore[untyped-decorator]
    async def add(asked: schema.AddRequest) -> schema.AddAnswer:
        """Add an image of a person to the gallery: its feature and what is said of it, and a small image if asked."""
        require_changes()
        boxes = [] if asked.box is None else [asked.box]
        described = await worker.run(lambda: service.describe(asked.image, boxes, small=asked.thumbnail))
        return await run_in_threadpool(service.add, described, asked)

    @app.post("/api/erase")  # type: ignore[untyped-decorator]
    async def erase(asked: schema.EraseRequest) -> schema.EraseAnswer:
        """Remove a person or images for good: no byte of them stays in the gallery's files."""
        require_changes()
        return await run_in_threadpool(service.erase, asked)


def _add_page(app: Any) -> None:
    from starlette.responses import Response

    folder = files("jointreid.serve").joinpath("page")

    def sender(content: bytes, kind: str) -> Callable[[], Any]:
        async def send() -> Response:
            return Response(content, media_type=kind)

        return send

    for path, (name, kind) in PAGE.items():
        send = sender(folder.joinpath(name).read_bytes(), kind)
        app.get(path, include_in_schema=False, dependencies=[])(send)


def _add_errors(app: Any) -> None:
    """Answer errors with one text for the client; those of this machine go to the log, since they may name paths."""
    from fastapi.exceptions import RequestValidationError
    from starlette.responses import JSONResponse

    def answer(status: int, why: str, headers: dict[str, str] | None = None) -> JSONResponse:
        return JSONResponse({"detail": why}, status, headers)

    async def of_client(_: Any, error: ClientMistake) -> JSONResponse:
        return answer(400, str(error))

    async def of_fields(_: Any, error: RequestValidationError) -> JSONResponse:
        found = error.errors()[0]  # the value itself is not repeated: it may be an image
        place = ".".join(str(part) for part in found["loc"][1:]) or "the request"
        return answer(422, f"{place}: {found['msg']}")

    async def of_queue(_: Any, error: Busy) -> JSONResponse:
        return answer(503, "too many requests are waiting for the model; try again", {"retry-after": "2"})

    async def of_machine(_: Any, error: Exception) -> JSONResponse:
        LOG.error("a request failed: %s", error)
        return answer(500, "the server could not answer; its log says why")

    app.add_exception_handler(ClientMistake, of_client)
    app.add_exception_handler(RequestValidationError, of_fields)
    app.add_exception_handler(Busy, of_queue)
    app.add_exception_handler(JointreidError, of_machine)
    app.add_exception_handler(Exception, of_machine)
