"""The application: routes, errors, gate."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response

from opencolossus.serve.api import accounts, keys, openai, talks
from opencolossus.serve.api.auth import hub_of
from opencolossus.serve.api.errors import ApiError, install
from opencolossus.serve.api.hub import Hub
from opencolossus.serve.api.limits import Gate
from opencolossus.version import __version__

PAGE = Path(__file__).parent.parent / "page"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def create_app(hub: Hub) -> FastAPI:
    """The application over one hub, whose engine is started and ended by the caller."""

    app = FastAPI(
        title="Colossus",
        version=__version__,
        description="An OpenAI-compatible API to a model trained with Colossus.",
        docs_url=None,  # its pages load scripts from elsewhere
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.state.hub = hub
    app.state.doors = accounts.Doors()
    install(app)
    app.include_router(openai.router)
    app.include_router(accounts.router)
    app.include_router(keys.router)
    app.include_router(talks.router)
    _operations(app)
    _page(app)
    app.add_middleware(Gate, options=hub.options, metrics=hub.metrics)
    return app


def _operations(app: FastAPI) -> None:
    @app.get("/health", tags=["Operations"])
    async def health(request: Request) -> Response:
        """200 while questions can be answered, 503 while they cannot."""
        engine = hub_of(request).engine
        ready = engine.state == "ready"
        return JSONResponse(
            {"status": "ok" if ready else engine.state}, status_code=200 if ready else 503
        )

    @app.get("/metrics", include_in_schema=False)
    async def metrics(request: Request) -> Response:
        hub = hub_of(request)
        host = request.client.host if request.client else ""
        if not hub.options.open_metrics and host not in LOOPBACK:
            raise ApiError(403, "metrics are shown to this machine only; see --open-metrics")
        return Response(hub.metrics.render(), media_type="text/plain; version=0.0.4")


def _page(app: FastAPI) -> None:
    kinds = {
        ".html": "text/html",
        ".js": "text/javascript",
        ".css": "text/css",
        ".svg": "image/svg+xml",
    }

    def serve(path: str, file: Path) -> None:
        async def give() -> Response:
            kind = f"{kinds[file.suffix]}; charset=utf-8"
            return FileResponse(file, media_type=kind, headers={"Cache-Control": "no-cache"})

        app.get(path, include_in_schema=False)(give)

    for file in sorted(PAGE.iterdir()):
        serve("/" if file.name == "index.html" else f"/page/{file.name}", file)
