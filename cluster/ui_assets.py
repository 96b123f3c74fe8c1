"""The page's own files: hand-written ES modules and style sheets in `cluster/ui`, and plotly.js as it is installed.

Modules import each other as `headrace/NAME`. An import map in the page says where that is: at the server, or, in an
export that opens from a disk, inside of the page itself (a browser loads no module from a file).
"""

import base64
import hashlib
import json
from functools import cache
from importlib import resources

from cluster.plot import plotly_script

STYLES = ("report.css", "ui/page.css")
MODULES = tuple(
    sorted(
        one.name.removesuffix(".js")
        for one in (resources.files("cluster") / "ui").iterdir()
        if one.name.endswith(".js")
    )
)
SERVER, EXPORT = "server_source", "export_source"
"""The modules that give the page its facts: one of them is `headrace/source`."""
PLOTLY = "plotly.min.js"
SERVED_POLICY = (
    "default-src 'none'",
    "style-src 'self' 'unsafe-inline'",  # plotly.js writes its style into the page
    "connect-src 'self'",
    "img-src 'self' data: blob:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)
EXPORT_POLICY = ("connect-src 'none'", "object-src 'none'", "base-uri 'none'", "form-action 'none'")


@cache
def asset(name: str) -> bytes:
    """A file of the package; `plotly.min.js` is the installed plotly's."""
    if name == PLOTLY:
        return plotly_script().encode()
    return (resources.files("cluster") / name).read_bytes()


def style() -> str:
    """All of the page's style: the report's, and what the page adds."""
    return "\n".join(asset(name).decode() for name in STYLES)


def served_page() -> str:
    """The page of a server."""
    styles = '<link rel="stylesheet" href="/assets/page.css">'
    return _page(styles, _served_map(), '<script type="module" src="/assets/main.js"></script>')


def served_policy() -> str:
    """What that page may load: from its server alone, and no script that is not a file of it but the import map."""
    digest = base64.b64encode(hashlib.sha256(_served_map().encode()).digest()).decode()
    return "; ".join([*SERVED_POLICY, f"script-src 'self' 'sha256-{digest}'"])


def exported_page() -> str:
    """The page of an export: whole in itself, but for plotly.js and the data beside it; nothing is sent anywhere."""
    meta = f'<meta http-equiv="Content-Security-Policy" content="{"; ".join(EXPORT_POLICY)}">'
    modules = {name: _inside(asset(f"ui/{name}.js")) for name in MODULES}
    entry = '<script type="module">import "headrace/main";</script>'
    return _page(f"{meta}<style>{style()}</style>", _import_map(EXPORT, modules), entry)


def _page(head: str, import_map: str, entry: str) -> str:
    template = asset("ui/index.html").decode()
    for mark, text in (("<!--head-->", head), ("<!--import map-->", import_map), ("<!--entry-->", entry)):
        template = template.replace(mark, text)
    return template


def _served_map() -> str:
    return _import_map(SERVER, {name: f"/assets/{name}.js" for name in MODULES})


def _import_map(source: str, places: dict[str, str]) -> str:
    named = {f"headrace/{name}": place for name, place in places.items()}
    return json.dumps({"imports": {**named, "headrace/source": places[source]}})


def _inside(script: bytes) -> str:
    return f"data:text/javascript;base64,{base64.b64encode(script).decode()}"
