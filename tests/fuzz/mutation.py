"""Damage to bytes and to trees of plain values, drawn from a seeded generator."""

import copy
import json
import random
from pathlib import Path
from typing import Any

HOSTILE: tuple[Any, ...] = (
    None,
    True,
    False,
    "",
    "x",
    "-",
    "\0",
    "a\nb",
    "../../etc",
    "{num_latents}",
    "{x.__class__}",
    "1e9",
    "\u202eé漢\U0001f600",
    "A" * 5000,
    0,
    -1,
    1,
    2,
    7,
    2**31,
    2**63,
    2**64,
    10**30,
    -(10**30),
    0.5,
    1e308,
    -1e-320,
    float("nan"),
    float("inf"),
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"a": {"b": [1, {"c": "d"}]}},
    list(range(200)),
    ["x"] * 50,
)
"""What a value may be replaced by."""
HOSTILE_BYTES = (
    b"\x00",
    b"\xff",
    b"\x00" * 8,
    b"\xff" * 8,
    b"\x7f\xff\xff\xff",
    b"\xef\xbb\xbf",
    b"\n",
    b"{",
    b'"',
    b"\r",
)


def mutate_bytes(draw: random.Random, data: bytes) -> bytes:
    """One to four changes: bits, bytes, numbers, pieces that go, come twice or change places, an early end."""
    damaged = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        draw.choice((_flip, _flip, _overwrite, _delete, _insert, _repeat, _truncate, _swap))(draw, damaged)
    return bytes(damaged)


def mutate_tree(draw: random.Random, tree: Any) -> Any:
    """A copy of a tree of dicts and lists with one to three nodes replaced, removed, added, renamed or exchanged."""
    changed = copy.deepcopy(tree)
    for _ in range(draw.choice((1, 1, 2, 3))):
        places = list(_places(changed))
        if not places:
            return draw.choice(HOSTILE)
        parent, key = draw.choice(places)
        draw.choice((_replace, _replace, _replace, _remove, _add, _rename, _exchange))(draw, parent, key, places)
    return changed


def mutate_file(draw: random.Random, path: Path) -> None:
    """Damages a file in place: its bytes; or, where it is JSON, at times its values; or it is gone or a folder."""
    way = draw.random()
    if way < 0.03:
        path.unlink()
    elif way < 0.05:
        path.unlink()
        path.mkdir()
    elif way < 0.6 and (tree := _json_of(path)) is not None:
        path.write_text(json.dumps(mutate_tree(draw, tree)), encoding="utf-8")
    else:
        path.write_bytes(mutate_bytes(draw, path.read_bytes()))


def _json_of(path: Path) -> Any:
    """What is in a JSON file; None where there is none, or none any more."""
    try:
        return json.loads(path.read_bytes()) if path.suffix == ".json" else None
    except ValueError:
        return None


def _at(draw: random.Random, data: bytearray) -> int:
    """Somewhere; the first and last bytes, where headers lie, more often than others."""
    if draw.random() < 0.3:
        return draw.randrange(min(len(data), 64) or 1)
    if draw.random() < 0.3:
        return max(0, len(data) - 1 - draw.randrange(min(len(data), 512) or 1))
    return draw.randrange(len(data) or 1)


def _flip(draw: random.Random, data: bytearray) -> None:
    if data:
        data[_at(draw, data)] ^= 1 << draw.randrange(8)


def _overwrite(draw: random.Random, data: bytearray) -> None:
    at, piece = _at(draw, data), draw.choice((*HOSTILE_BYTES, draw.randbytes(4)))
    data[at : at + len(piece)] = piece


def _delete(draw: random.Random, data: bytearray) -> None:
    at = _at(draw, data)
    del data[at : at + draw.choice((1, 2, 8, 64, 1000))]


def _insert(draw: random.Random, data: bytearray) -> None:
    at = _at(draw, data)
    data[at:at] = draw.choice((*HOSTILE_BYTES, draw.randbytes(9)))


def _repeat(draw: random.Random, data: bytearray) -> None:
    at = _at(draw, data)
    data[at:at] = data[at : at + draw.choice((1, 8, 100, 2000))]


def _truncate(draw: random.Random, data: bytearray) -> None:
    del data[_at(draw, data) :]


def _swap(draw: random.Random, data: bytearray) -> None:
    first, second, size = _at(draw, data), _at(draw, data), draw.choice((1, 4, 8, 64))
    data[first : first + size], data[second : second + size] = (
        data[second : second + size],
        data[first : first + size],
    )


Place = tuple[Any, Any]
"""A dict or list, and a key of it."""


def _places(tree: Any) -> Any:
    if isinstance(tree, dict):
        items = list(tree.items())
    elif isinstance(tree, list):
        items = list(enumerate(tree))
    else:
        return
    for key, value in items:
        yield tree, key
        yield from _places(value)


def _replace(draw: random.Random, parent: Any, key: Any, places: list[Place]) -> None:
    value = parent[key] if isinstance(parent, dict) else parent[min(key, len(parent) - 1)] if parent else None
    ways = [draw.choice(HOSTILE), draw.choice(HOSTILE), [value], {"x": value}, str(value)]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        ways += [-value, value + 1, value * 1000, float(value)]
    if isinstance(value, str):
        ways += [value.upper(), value + "\n", value[: len(value) // 2], value + value]
    new = copy.deepcopy(draw.choice(ways))
    if isinstance(parent, dict):
        parent[key] = new
    elif parent:
        parent[min(key, len(parent) - 1)] = new


def _remove(draw: random.Random, parent: Any, key: Any, places: list[Place]) -> None:
    if isinstance(parent, dict):
        parent.pop(key, None)
    elif parent:
        parent.pop(min(key, len(parent) - 1))


def _add(draw: random.Random, parent: Any, key: Any, places: list[Place]) -> None:
    new = copy.deepcopy(draw.choice(HOSTILE))
    if isinstance(parent, dict):
        parent[draw.choice(("new", "", "k", "seed", "../x", "name"))] = new
    else:
        parent.insert(min(key, len(parent)), new)


def _rename(draw: random.Random, parent: Any, key: Any, places: list[Place]) -> None:
    if isinstance(parent, dict) and key in parent:
        name = str(key)
        parent[draw.choice((name + "s", name.upper(), name[:-1], name + " "))] = parent.pop(key)


def _exchange(draw: random.Random, parent: Any, key: Any, places: list[Place]) -> None:
    """Puts another node's value here, as it was before."""
    other, other_key = draw.choice(places)
    held = other[other_key] if isinstance(other, dict) and other_key in other else None
    _set(parent, key, copy.deepcopy(held))


def _set(parent: Any, key: Any, value: Any) -> None:
    if isinstance(parent, dict):
        parent[key] = value
    elif parent:
        parent[min(key, len(parent) - 1)] = value
