"""Whether a Ray cluster would let this process in, asked before Ray itself tries.

Ray takes 20 s to say "Failed to connect" to a client without the right token, and half a minute or more to one with a
wrong address, with lines of its C++ core on the terminal meanwhile. One small call to the head's GCS tells the same in
milliseconds. Where that call means nothing to the server, Ray is left to find out.
"""

import os
from typing import NoReturn

import grpc

from cluster.ray_token import (
    Token,
    give_time_to_start,
    keep_to_loopback,
    own_cluster_is_wanted,
    settle_ray_token,
    token_in_use,
)
from shared.errors import UserError

GREETING = "/ray.rpc.NodeInfoGcsService/GetClusterId"
"""A call of Ray's GCS that takes an empty message."""
ANSWER_S = 10.0
REFUSALS = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
SILENCES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def settle_ray() -> None:
    """How this process will start Ray, or join the cluster that RAY_ADDRESS names; before `import ray`.

    Raises:
        UserError: that cluster does not answer, or refuses us; or our own cluster's token cannot be kept.
    """
    settle_ray_token(own_cluster_is_wanted())
    if own_cluster_is_wanted():
        keep_to_loopback()
        give_time_to_start()
    else:
        cluster_address()


def cluster_address() -> str:
    """`host:port` of the cluster that RAY_ADDRESS names. Raises UserError if it does not answer, or refuses us."""
    address = os.environ["RAY_ADDRESS"]
    if address == "auto":
        address = _address_here()
    check_door(address)
    return address


def check_door(address: str) -> None:
    """Raises UserError, in one sentence, if the cluster at `address` (`host:port`) cannot be joined from here."""
    _check_form(address)
    token = token_in_use()
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(GREETING)(b"", timeout=ANSWER_S, metadata=_metadata(token))
        except grpc.RpcError as error:
            if error.code() in REFUSALS:
                raise UserError(token_advice(address)) from None
            if error.code() in SILENCES:
                raise UserError(silence_advice(address)) from None


def token_advice(address: str) -> str:
    """What to do about a cluster that refuses us for want of the right token."""
    token = token_in_use()
    where = "the file that holds the cluster's token (on its head node: ~/.ray/auth_token)"
    if token is None:
        return (
            f"the Ray cluster at {address} asks for a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to {where}"
        )
    return (
        f"the Ray cluster at {address} refuses the token from {token.origin}, which is not its own: "
        f"set RAY_AUTH_TOKEN_PATH to {where}"
    )


def silence_advice(address: str) -> str:
    """What to do about an address where no cluster answers."""
    return f"no Ray cluster answers at {address}: check the address, and on the head node that it runs (ray status)"


def _address_here() -> str:
    """Of the cluster that runs on this machine, found as Ray finds it."""
    from ray._private.services import canonicalize_bootstrap_address_or_die

    try:
        return str(canonicalize_bootstrap_address_or_die("auto"))
    except (ConnectionError, ValueError) as error:
        raise UserError("RAY_ADDRESS is auto, and no Ray cluster runs here: unset it, or start one") from error


def _check_form(address: str) -> None:
    if address.startswith(("http://", "https://")):
        _refuse(address, "is a dashboard", f"use headrace submit --address {address}, or set RAY_ADDRESS to HEAD:6379")
    if address.startswith("ray://"):
        _refuse(address, "is Ray Client's", "use headrace submit, or run in the cluster with RAY_ADDRESS=HEAD:6379")
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        _refuse(address, "is not HOST:PORT", "set it to what `ray start` printed, such as 10.0.0.1:6379, or unset it")


def _refuse(address: str, what: str, instead: str) -> NoReturn:
    raise UserError(f"RAY_ADDRESS {address} {what}: {instead}")


def _metadata(token: Token | None) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token.value}")] if token else []
