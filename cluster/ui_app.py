"""The page's server as an application: its files, and what it asks for. What answers hold is decided elsewhere."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from cluster.ui_answer import answer
from cluster.ui_assets import MODULES, PLOTLY, asset, served_page, served_policy, style
from cluster.ui_features import add_bench, add_features
from cluster.ui_guard import Guard
from cluster.ui_run import run_plots
from cluster.ui_runs import Runs
from cluster.ui_shelf import Shelf
from shared.errors import HeadraceError

LASTING = {"Cache-Control": "max-age=86400"}


def create_app(runs: Runs) -> FastAPI:
    """The page over these runs."""
    shelf = Shelf(runs)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, policy=served_policy())
    app.add_exception_handler(HeadraceError, _refused)
    app.add_exception_handler(RequestValidationError, _misunderstood)
    app.add_exception_handler(HTTPException, _not_there)
    add_page(app)
    add_runs(app, runs)
    add_features(app, shelf)
    add_bench(app, shelf)
    return app


def add_page(app: FastAPI) -> None:
    """The page itself and its files."""
    page, sheet = served_page(), style()

    @app.get("/", response_class=HTMLResponse)
    def index() -> str:
        return page

    @app.get("/assets/page.css")
    def styles() -> Response:
        return Response(sheet, media_type="text/css")

    @app.get(f"/assets/{PLOTLY}")
    def plotly() -> Response:
        return Response(asset(PLOTLY), media_type="text/javascript", headers=LASTING)

    @app.get("/assets/{name}.js")
    def module(name: str) -> Response:
        if name not in MODULES:
            raise HTTPException(404)
        return Response(asset(f"ui/{name}.js"), media_type="text/javascript")


def add_runs(app: FastAPI, runs: Runs) -> None:
    """Runs, one run, and its figures."""

    @app.get("/api/runs")
    def listing() -> Response:
        return answer(runs.listing())

    @app.get("/api/runs/{run}")
    def view(run: str) -> Response:
        return answer(runs.view(run))

    @app.get("/api/runs/{run}/plots")
    def plots(run: str) -> Response:
        return answer(run_plots(runs.facts(run)))


def _refused(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


def _misunderstood(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return JSONResponse({"error": f"{'.'.join(str(part) for part in first['loc'][1:])}: {first['msg']}"}, 422)


def _not_there(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": f"there is no {request.url.path}"}, error.status_code)
