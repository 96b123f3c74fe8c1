"""Checkpoints in a run folder: one folder for each part, and a manifest that is written last.

A checkpoint without its manifest does not exist, whatever else lies in its folder. A part's folder is named for its
role and its stream, and never changes: in one stream all who save the same part save the same state, and whoever still
works on an older stream saves beside it. The manifest has size and checksum of every file of every part; whoever goes
back to a checkpoint compares them first, and takes the one before where they do not match.
"""

import json
import logging
import shutil
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from cluster.part_files import check_part, drop_part, read_part, reading
from shared.errors import CheckpointError, one_line
from shared.files import write_atomically
from shared.registry_facts import LaneCounters, StreamPoint, TrainerCounters

log = logging.getLogger(__name__)
FORMAT_VERSION = 3
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint on disk."""

    folder: Path
    block: int
    """The barrier: every trainer's cursor."""
    fingerprint: str
    """Of the corpus."""
    num_units: int
    dead_units: tuple[int, ...]
    scales: dict[str, float]
    lanes: tuple[LaneCounters, ...]
    trainers: dict[str, TrainerCounters]
    stream: int
    """In which it was saved."""

    def part(self, role: str) -> Path:
        return self.folder / part_name(role, self.stream)

    def is_whole(self, role: str) -> bool:
        """Whether what `role` saved is what the manifest says. Raises Unreadable where the system does not give it."""
        try:
            manifest = _manifest(self.folder)
            check_part(self.part(role), {**manifest["lanes"], **manifest["trainers"]}[role])
        except (CheckpointError, ValueError, KeyError, TypeError):
            return False
        return True

    def point(self, window_units: int, block_rows: int) -> StreamPoint:
        """Where the stream goes on from here."""
        return StreamPoint(
            num_units=self.num_units,
            window_units=window_units,
            block_rows=block_rows,
            lanes=self.lanes,
            trainers=self.trainers,
            scales=self.scales,
            checkpoint=self.block,
        )


def part_name(role: str, stream: int) -> str:
    """The folder of what `role` saves in a stream."""
    return f"{role}@{stream}"


def seal(
    run_folder: Path,
    stream: int,
    block: int,
    lanes: list[str],
    trainers: list[str],
    facts: dict[str, Any],
) -> Checkpoint:
    """Write the manifest of a checkpoint whose parts are all there; from then on it counts."""
    folder = run_folder / "checkpoints" / str(block)
    manifest = {
        "format_version": FORMAT_VERSION,
        "block": block,
        "stream": stream,
        **facts,
        "lanes": {role: read_part(folder / part_name(role, stream)) for role in lanes},
        "trainers": {role: read_part(folder / part_name(role, stream)) for role in trainers},
    }
    manifest["digest"] = _digest(manifest)
    write_atomically(folder / MANIFEST, json.dumps(manifest, indent=2).encode())
    return _checkpoint(folder, manifest)


def newest(run_folder: Path, tell: Callable[[str], None] = log.warning) -> Checkpoint | None:
    """The newest checkpoint that is whole, of which every file was read; None where none was ever complete.

    Args:
        tell: is given a sentence for each that is damaged.
    Raises:
        CheckpointError: there are some, and each is damaged; tells of the newest.
        Unreadable: the system does not let one be read that may be newer than any that it does.
    """
    damage: CheckpointError | None = None
    for folder in sorted(_folders(run_folder), key=lambda one: -int(one.name)):
        if _is_there(folder / MANIFEST):
            try:
                return read_checkpoint(folder)
            except CheckpointError as error:
                tell(f"checkpoint {folder.name} cannot be used: {error}")
                damage = damage or error
    if damage is not None:
        raise damage
    return None


def read_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`.

    Raises:
        CheckpointError: anything in it is damaged; names the file.
        Unreadable: the system does not let a file be read; names it.
    """
    path = folder / MANIFEST
    try:
        manifest = _manifest(folder)
        if manifest["format_version"] != FORMAT_VERSION:
            raise CheckpointError(f"{path} has format version {manifest['format_version']!s:.60}, not {FORMAT_VERSION}")
        if manifest.pop("digest") != _digest(manifest):
            raise CheckpointError(f"{path} is damaged: its checksum does not match")
        for role, part in {**manifest["lanes"], **manifest["trainers"]}.items():
            check_part(folder / part_name(role, manifest["stream"]), part)
        return _checkpoint(folder, manifest)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {type(error).__name__}: {one_line(error)}") from error


def _checkpoint(folder: Path, manifest: dict[str, Any]) -> Checkpoint:
    return Checkpoint(
        folder=folder,
        block=manifest["block"],
        fingerprint=manifest["fingerprint"],
        num_units=manifest["num_units"],
        dead_units=tuple(manifest["dead_units"]),
        scales=manifest["scales"],
        lanes=tuple(LaneCounters.of(part["counters"]) for part in manifest["lanes"].values()),
        trainers={
            role.removeprefix("trainer-"): TrainerCounters.of(part["counters"])
            for role, part in manifest["trainers"].items()
        },
        stream=manifest["stream"],
    )


def newest_block(run_folder: Path) -> int | None:
    """The newest checkpoint that is complete, by its manifest alone; None where there is none."""
    return max((int(one.name) for one in _folders(run_folder) if (one / MANIFEST).exists()), default=None)


def fingerprint(folder: Path) -> str:
    """Of the corpus that a checkpoint's trainers read. Raises CheckpointError if its manifest is damaged."""
    return _fact(folder, "fingerprint")


def part_of(folder: Path, role: str) -> Path:
    """What `role` saved for a complete checkpoint. Raises CheckpointError if its manifest is damaged."""
    return folder / part_name(role, _fact(folder, "stream"))


def newest_part(
    run_folder: Path, role: str, stream: int, tell: Callable[[str], None] = log.warning
) -> tuple[int, Path] | None:
    """The newest whole state that `role` has saved in a stream, in a complete checkpoint or not: its block and folder.

    What is damaged goes, and `tell` is given a sentence about it. Raises Unreadable, and nothing goes, where the system
    does not let a state be read that may be the newest.
    """
    for folder in sorted(_folders(run_folder), key=lambda one: -int(one.name)):
        part = folder / part_name(role, stream)
        if _is_there(part):
            try:
                check_part(part, read_part(part))
                return int(folder.name), part
            except CheckpointError as error:
                tell(str(error))
                drop_part(part)
    return None


def missing_parts(run_folder: Path, stream: int, block: int, roles: Iterable[str]) -> list[str]:
    """Which of `roles` have not saved at `block`: a part is there as a whole or not at all."""
    folder = run_folder / "checkpoints" / str(block)
    return [role for role in roles if not (folder / part_name(role, stream)).exists()]


def prune(run_folder: Path, keep: int, in_use: Collection[int] = ()) -> None:
    """Delete all but the newest `keep` complete checkpoints, and what is older than the oldest of those.

    Args:
        in_use: blocks of checkpoints that somebody may be reading: they stay until the next time.
    """
    complete = sorted((int(one.name) for one in _folders(run_folder) if (one / MANIFEST).exists()), reverse=True)
    for folder in _folders(run_folder):
        if complete and int(folder.name) < complete[:keep][-1] and int(folder.name) not in in_use:
            _drop(folder)


def oldest(run_folder: Path) -> int:
    """The block of the oldest checkpoint on disk; 0 where there is none."""
    return min((int(folder.name) for folder in _folders(run_folder)), default=0)


def drop_after(run_folder: Path, block: int) -> None:
    """Delete what was saved beyond `block`: the stream comes there again."""
    for folder in _folders(run_folder):
        if int(folder.name) > block:
            _drop(folder)


def _drop(folder: Path) -> None:
    """The manifest first: of a checkpoint whose driver dies here nobody takes what is left for whole."""
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _fact(folder: Path, name: str) -> Any:
    try:
        return _manifest(folder)[name]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / MANIFEST} is damaged: {error!r}") from error


def _manifest(folder: Path) -> Any:
    path = folder / MANIFEST
    with reading(path):
        return json.loads(path.read_bytes())


def _is_there(path: Path) -> bool:
    with reading(path):
        return path.exists()


def _folders(run_folder: Path) -> list[Path]:
    parent = run_folder / "checkpoints"
    if not parent.is_dir():
        return []
    return [folder for folder in parent.iterdir() if folder.name.isdecimal() and folder.name.isascii()]


def _digest(manifest: dict[str, Any]) -> str:
    """Of all that a manifest says, but for the digest itself."""
    return xxhash.xxh3_128(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
