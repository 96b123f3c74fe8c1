"""What the doctor looks at around a job: Redis, Ray's token and address, the Hugging Face cache, the demo's model."""

import os
import re
import socket
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cluster.finding import Finding
from cluster.ray_token import OWN_TOKEN, RAYS_TOKEN
from shared.embedded_redis import EmbeddedRedis
from shared.quantity import format_bytes
from shared.registry_server import find_server

DEMO_MODEL = Path(__file__).resolve().parent.parent / "examples" / "demo_lm" / "model"
SMALLEST_WEIGHTS_BYTES = 100_000
"""Less is a pointer that git-lfs left."""
CONNECT_S = 3.0


def check_redis() -> Finding:
    """The redis-server of embedded registries; it is started once, in a folder that goes again."""
    server = find_server()
    with tempfile.TemporaryDirectory() as folder:
        embedded = EmbeddedRedis(Path(folder) / "runs")
        try:
            embedded.connect().close()
        finally:
            embedded.stop()
    return Finding("redis-server", "good", f"{'.'.join(map(str, server.version))} starts ({server.path})")


def check_ray_token(environment: Mapping[str, str]) -> Finding:
    """How Ray's token authentication is set; `environment` as the user has it."""
    named = next((name for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH") if name in environment), None)
    mode, rays, own = environment.get("RAY_AUTH_MODE"), RAYS_TOKEN.expanduser(), OWN_TOKEN.expanduser()
    if named == "RAY_AUTH_TOKEN_PATH" and not Path(environment[named]).expanduser().is_file():
        return Finding("Ray token", "bad", f"RAY_AUTH_TOKEN_PATH names {environment[named]}, which is not there", _NAME)
    if mode == "token" and named is None and not rays.is_file():
        return Finding("Ray token", "bad", f"RAY_AUTH_MODE=token, and there is no token in {RAYS_TOKEN}", _NAME)
    if mode is not None:
        source = named or (RAYS_TOKEN if mode == "token" else "no token")
        return Finding("Ray token", "good", f"as you set it: RAY_AUTH_MODE={mode}, {source}")
    if rays.is_file():
        return Finding("Ray token", "warn", f"{RAYS_TOKEN} is there and RAY_AUTH_MODE is not set", _TRAP)
    if own.is_file() and stat.S_IMODE(own.stat().st_mode) & 0o077:
        return Finding("Ray token", "warn", f"{OWN_TOKEN} can be read by others", f"chmod 600 {OWN_TOKEN}")
    text = f"a job's own Ray uses {OWN_TOKEN}" + ("" if own.is_file() else ", made when first needed")
    return Finding("Ray token", "good", text)


_NAME = "put the cluster's token there, or unset the variable; on its head node it is ~/.ray/auth_token"
_TRAP = (
    "ray start turns authentication on because of that file, and plain clients fail: set RAY_AUTH_MODE=token "
    "wherever you call ray yourself; headrace does so when it joins a cluster"
)


def check_ray_address(environment: Mapping[str, str]) -> Finding:
    """Whether the cluster that RAY_ADDRESS names can be reached; no more than a connection is made."""
    address = environment.get("RAY_ADDRESS", "")
    if address in ("", "local"):
        return Finding("Ray cluster", "good", "RAY_ADDRESS is not set: each job starts a Ray of its own here")
    found = re.fullmatch(r"(?:[a-z]+://)?\[?([^/\]]+?)\]?:(\d+)/?", address)
    if found is None:
        return Finding("Ray cluster", "warn", f"RAY_ADDRESS={address} cannot be tried", "give it as host:port")
    try:
        socket.create_connection((found[1], int(found[2])), timeout=CONNECT_S).close()
    except (OSError, OverflowError):
        advice = "check that the cluster runs (ray status on its head node), or unset RAY_ADDRESS"
        return Finding("Ray cluster", "bad", f"nothing answers at RAY_ADDRESS={address}", advice)
    return Finding("Ray cluster", "good", f"{address} answers")


def check_hub() -> Finding:
    """Where models come from."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    num_models = sum(1 for _ in cache.glob("models--*")) if cache.is_dir() else 0
    text = f"{num_models} models in {cache}"
    nearest = next(place for place in (cache, *cache.absolute().parents) if place.exists())
    if constants.HF_HUB_OFFLINE:
        return Finding(
            "Hugging Face", "warn", f"{text}; offline", "only these and folders can be used: HF_HUB_OFFLINE=0"
        )
    if not os.access(nearest, os.W_OK):
        return Finding("Hugging Face", "warn", f"{text}; it cannot be written", "set HF_HOME to a folder of your own")
    return Finding("Hugging Face", "good", text)


def check_demo_model() -> Finding:
    """The language model that the demo job uses."""
    weights = DEMO_MODEL / "model.safetensors"
    if not weights.is_file():
        return Finding("demo model", "warn", f"there is none in {DEMO_MODEL}", "run headrace from its own checkout")
    size = weights.stat().st_size
    if size < SMALLEST_WEIGHTS_BYTES:
        return Finding("demo model", "warn", f"{weights} has {format_bytes(size)} only", "fetch it: git lfs pull")
    return Finding("demo model", "good", f"{format_bytes(size)} in {DEMO_MODEL}")
