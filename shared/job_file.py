"""Reads a job file: YAML, `key=value` overrides, lists that multiply out, errors that name the key as written."""

import itertools
import math
import re
import string
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from shared.config import Job
from shared.errors import UserError
from shared.refusal import refusal, shown
from shared.registry_secret import refuse_typed_password

LISTS_THAT_STAY = frozenset({"adam_betas", "group_fractions", "hookpoints", "resample_at_fractions"})
"""Trainer keys whose value is a list in itself."""
MAX_TRAINERS = 1000
"""Of one job; lists multiply out fast."""


class StrictLoader(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error, not the last one's."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


def load_job(path: Path, overrides: tuple[str, ...] = ()) -> Job:
    """The job that `path` describes, after `overrides` such as `tokens=1000` or `trainers.0.k=16`.

    Raises:
        UserError: no such file, not YAML, an unknown key, a wrong value; one sentence, naming the key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except IsADirectoryError:
        raise UserError(f"{path} is a folder, not a job file") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"cannot read the job file {path}: {reason}") from None
    return parse_job(text, overrides, origin=str(path))


def parse_job(text: str, overrides: tuple[str, ...] = (), origin: str = "the job file") -> Job:
    """As `load_job`, for the text of a job file; `origin` names it in errors."""
    raw = _read_yaml(text, origin)
    if not isinstance(raw, dict):
        keys = "it must hold keys such as name, model, corpus, trainers and tokens"
        raise UserError(f"{origin} is empty; {keys}" if raw is None else f"{origin} is not a job file: {keys}")
    for override in overrides:
        _apply_override(raw, override)
    written = _multiply_trainers(raw)
    try:
        return Job.model_validate(raw)
    except ValidationError as error:
        raise UserError(_as_written(refusal(error), written)) from None


def dump_job(job: Job) -> str:
    """The job as YAML with every default written out; `parse_job` gives the same job back."""
    return yaml.safe_dump(job.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read_yaml(text: str, origin: str) -> Any:
    try:
        return yaml.load(text, StrictLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where, problem = f", line {mark.line + 1}," if mark else "", getattr(error, "problem", None) or error
        raise UserError(f"{origin}{where} cannot be read as YAML: {' '.join(str(problem).split())}") from None
    except (ValueError, RecursionError) as error:  # a date of month 13, a thousand brackets
        raise UserError(f"{origin} cannot be read as YAML: {' '.join(str(error).split())}") from None


def _apply_override(raw: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UserError(f"an override must look like key=value, got {shown(override)}")
    if key == "registry":
        refuse_typed_password(value, key)
    parsed = _read_yaml(value, f"the value of the override {shown(override)}")
    *parents, last = re.sub(r"\[(\d+)\]", r".\1", key).split(".")
    target: Any = raw
    for parent in parents:
        target = _child(target, parent, key)
    if isinstance(target, list):
        _child(target, last, key)
        target[int(last)] = parsed
    elif isinstance(target, dict):
        target[last] = parsed
    else:
        raise UserError(f"there is no {shown(key)} to override")


def _child(target: Any, name: str, key: str) -> Any:
    if isinstance(target, dict):
        return target.setdefault(name, {})
    if isinstance(target, list) and name.isdigit() and int(name) < len(target):
        return target[int(name)]
    raise UserError(f"there is no {shown(key)} to override")


def _multiply_trainers(raw: dict[str, Any]) -> list[int]:
    """Replaces the trainers by their combinations; gives for each of those the number of the one that it came of."""
    if not isinstance(raw.get("trainers"), list):
        return []
    combinations = [(index, one) for index, item in enumerate(raw["trainers"]) for one in _multiply_out(item, index)]
    if len(combinations) > MAX_TRAINERS:
        raise UserError(f"trainers: there are {len(combinations):,}; a job has at most {MAX_TRAINERS:,}")
    raw["trainers"] = [one for _, one in combinations]
    return [index for index, _ in combinations]


def _as_written(sentence: str, written: list[int]) -> str:
    """The sentence with the trainers' numbers that the job file has."""
    return re.sub(r"^(.*?)\btrainers\[(\d+)\]", lambda found: f"{found[1]}trainers[{written[int(found[2])]}]", sentence)


def _multiply_out(item: Any, index: int) -> list[Any]:
    """One trainer for each combination of the values that are lists; the name's `{key}` are filled in."""
    if not isinstance(item, dict):
        return [item]
    lists = {key: value for key, value in item.items() if isinstance(value, list) and key not in LISTS_THAT_STAY}
    for key, value in lists.items():
        if not value:
            raise UserError(f"trainers[{index}].{key} must not be an empty list")
    count = math.prod(len(value) for value in lists.values())
    if count > MAX_TRAINERS:
        raise UserError(f"trainers[{index}] multiplies out to {count:,} trainers; a job has at most {MAX_TRAINERS:,}")
    combinations = [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]
    return [_with_name({**item, **combination}, index) for combination in combinations]


def _with_name(item: dict[str, Any], index: int) -> dict[str, Any]:
    name = item.get("name", "{architecture}-{num_latents}")
    if not isinstance(name, str):
        return item
    try:
        places = list(string.Formatter().parse(name))
    except ValueError:
        places = [("", "", "?", None)]  # a brace that stands alone
    keys = [key for _, key, _, _ in places if key is not None]
    if not all(key.isidentifier() for key in keys) or any(spec or change for _, _, spec, change in places):
        raise UserError(f"trainers[{index}].name must hold plain {{key}} places only, got {shown(name)}")
    missing = [key for key in keys if key not in item]
    if missing and "name" not in item:
        return {**item, "name": "unnamed"}  # what is missing is said when the whole is checked
    if missing:
        raise UserError(f"trainers[{index}].name {shown(name)} uses {missing[0]}, which this trainer does not set")
    return {**item, "name": name.format_map(item)}
