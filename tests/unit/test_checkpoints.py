from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster import checkpoints
from cluster.part_files import write_part
from shared.errors import CheckpointError, Unreadable
from shared.registry_facts import LaneCounters, TrainerCounters

FACTS = {"job": "one", "fingerprint": "f", "num_units": 9, "dead_units": [4], "scales": {"h.0": 0.5}}


STREAM = 7


def save_part(run: Path, block: int, role: str, counters: LaneCounters | TrainerCounters, stream: int = STREAM) -> None:
    folder = run / "checkpoints" / str(block) / f"{role}@{stream}"
    folder.mkdir(parents=True)
    (folder / "rows.arrow").write_bytes(f"{role} at {block}".encode())
    write_part(folder, counters)


def save_parts(run: Path, block: int) -> None:
    save_part(run, block, "lane-0", LaneCounters(next_block=block, emitted=10 * block))
    save_part(run, block, "trainer-a", TrainerCounters(cursor=block, rows=10 * block))


def seal(run: Path, block: int) -> checkpoints.Checkpoint:
    save_parts(run, block)
    return checkpoints.seal(run, STREAM, block, ["lane-0"], ["trainer-a"], FACTS)


def blocks(run: Path) -> list[int]:
    return sorted(int(folder.name) for folder in (run / "checkpoints").iterdir())


def damage(run: Path, block: int, role: str = "lane-0") -> None:
    """One bit of it."""
    path = run / "checkpoints" / str(block) / f"{role}@7" / "rows.arrow"
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


def cut_short(run: Path, block: int, role: str = "lane-0") -> None:
    path = run / "checkpoints" / str(block) / f"{role}@7" / "rows.arrow"
    path.write_bytes(path.read_bytes()[:-1])


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """While the block runs the system refuses to read it, as it may a file of a network's disk, and not as if gone."""
    aside = path.rename(path.with_name("aside"))
    path.symlink_to(path)
    try:
        yield
    finally:
        path.unlink()
        aside.rename(path)


def test_sealed_checkpoint_reads_back(tmp_path: Path) -> None:
    sealed = seal(tmp_path, 20)
    assert checkpoints.newest(tmp_path) == sealed
    assert (sealed.block, sealed.num_units, sealed.dead_units, sealed.scales) == (20, 9, (4,), {"h.0": 0.5})
    assert sealed.lanes == (LaneCounters(next_block=20, emitted=200),)
    assert sealed.trainers == {"a": TrainerCounters(cursor=20, rows=200)}
    assert sealed.part("lane-0") == tmp_path / "checkpoints" / "20" / "lane-0@7"


def test_stream_goes_on_from_the_checkpoint(tmp_path: Path) -> None:
    point = seal(tmp_path, 20).point(window_units=3, block_rows=64)
    assert (point.checkpoint, point.window_units, point.block_rows, point.num_units) == (20, 3, 64, 9)
    assert point.trainers["a"].cursor == 20 and point.scales == {"h.0": 0.5}


def test_folder_without_a_manifest_is_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoints.newest(tmp_path) is None
    seal(tmp_path, 20)
    save_parts(tmp_path, 40)
    newest = checkpoints.newest(tmp_path)
    assert newest is not None and newest.block == 20


def test_newest_is_by_number_not_by_name(tmp_path: Path) -> None:
    for block in (100, 20, 9):
        seal(tmp_path, block)
    newest = checkpoints.newest(tmp_path)
    assert newest is not None and newest.block == 100


@pytest.mark.parametrize("role", ["lane-0", "trainer-a"])
@pytest.mark.parametrize(("spoil", "words"), [(damage, "checksum does not match"), (cut_short, "bytes and had")])
def test_damaged_checkpoint_is_named_and_gives_way_to_the_one_before(
    tmp_path: Path, role: str, spoil: Callable[[Path, int, str], None], words: str
) -> None:
    for block in (20, 40):
        seal(tmp_path, block)
    spoil(tmp_path, 40, role)
    told: list[str] = []
    newest = checkpoints.newest(tmp_path, told.append)
    assert newest is not None and newest.block == 20
    assert len(told) == 1 and told[0].startswith("checkpoint 40 cannot be used: ")
    assert f"40/{role}@7/rows.arrow is damaged" in told[0] and words in told[0]


def test_each_part_is_known_to_be_whole_or_not(tmp_path: Path) -> None:
    sealed = seal(tmp_path, 20)
    damage(tmp_path, 20, "trainer-a")
    assert sealed.is_whole("lane-0") and not sealed.is_whole("trainer-a")


def test_damaged_part_of_a_trainer_goes_and_the_one_before_is_taken(tmp_path: Path) -> None:
    seal(tmp_path, 20)
    save_part(tmp_path, 40, "trainer-a", TrainerCounters(cursor=40))
    damage(tmp_path, 40, "trainer-a")
    told: list[str] = []
    found = checkpoints.newest_part(tmp_path, "trainer-a", STREAM, told.append)
    assert found == (20, tmp_path / "checkpoints" / "20" / "trainer-a@7")
    assert len(told) == 1 and "40/trainer-a@7/rows.arrow is damaged" in told[0]
    assert not (tmp_path / "checkpoints" / "40" / "trainer-a@7").exists()


@pytest.mark.parametrize("file", ["rows.arrow", "part.json"])
def test_a_part_that_cannot_be_read_for_now_stays(tmp_path: Path, file: str) -> None:
    seal(tmp_path, 20)
    save_part(tmp_path, 40, "trainer-a", TrainerCounters(cursor=40))
    part = tmp_path / "checkpoints" / "40" / "trainer-a@7"
    told: list[str] = []
    with unreadable(part / file), pytest.raises(Unreadable, match=rf"40/trainer-a@7/{file} cannot be read: Too many"):
        checkpoints.newest_part(tmp_path, "trainer-a", STREAM, told.append)
    assert told == [] and checkpoints.newest_part(tmp_path, "trainer-a", STREAM) == (40, part)


@pytest.mark.parametrize("file", ["lane-0@7/rows.arrow", "trainer-a@7/rows.arrow"])
def test_a_checkpoint_that_cannot_be_read_for_now_does_not_give_way_to_an_older_one(tmp_path: Path, file: str) -> None:
    for block in (20, 40):
        sealed = seal(tmp_path, block)
    told: list[str] = []
    with unreadable(sealed.folder / file):
        with pytest.raises(Unreadable, match=f"40/{file} cannot be read: Too many"):
            checkpoints.newest(tmp_path, told.append)
        with pytest.raises(Unreadable):
            sealed.is_whole(file.partition("@")[0])
    assert told == [] and checkpoints.newest(tmp_path) == sealed


def test_a_manifest_that_cannot_be_read_is_not_taken_for_damaged(tmp_path: Path) -> None:
    sealed = seal(tmp_path, 20)
    with unreadable(sealed.folder / "manifest.json"):
        for read in (checkpoints.read_checkpoint, checkpoints.fingerprint):
            with pytest.raises(Unreadable, match=r"20/manifest\.json cannot be read: Too many"):
                read(sealed.folder)
        with pytest.raises(Unreadable):
            sealed.is_whole("lane-0")


def test_a_checkpoint_whose_parts_cannot_be_read_is_sealed_later(tmp_path: Path) -> None:
    save_parts(tmp_path, 20)
    part = tmp_path / "checkpoints" / "20" / "lane-0@7" / "part.json"
    with unreadable(part), pytest.raises(Unreadable):
        checkpoints.seal(tmp_path, STREAM, 20, ["lane-0"], ["trainer-a"], FACTS)
    assert checkpoints.seal(tmp_path, STREAM, 20, ["lane-0"], ["trainer-a"], FACTS) == checkpoints.newest(tmp_path)


def test_nothing_is_begun_anew_when_every_checkpoint_is_damaged(tmp_path: Path) -> None:
    for block in (20, 40):
        seal(tmp_path, block)
        damage(tmp_path, block)
    with pytest.raises(CheckpointError, match=r"40/lane-0@7/rows\.arrow is damaged: its checksum"):
        checkpoints.newest(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "is damaged"), ("{}", "is damaged"), ("[]", "is damaged"), ('{"format_version": 9}', "format version 9")],
)
def test_damaged_manifest_is_named(tmp_path: Path, text: str, words: str) -> None:
    folder = seal(tmp_path, 20).folder
    (folder / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError, match=words) as caught:
        checkpoints.read_checkpoint(folder)
    assert "20/manifest.json" in str(caught.value)


def test_lost_file_of_a_lane_is_damage(tmp_path: Path) -> None:
    folder = seal(tmp_path, 20).folder
    (folder / "lane-0@7" / "rows.arrow").unlink()
    with pytest.raises(CheckpointError, match="is damaged"):
        checkpoints.read_checkpoint(folder)


def test_checkpoint_is_not_sealed_while_a_part_is_missing(tmp_path: Path) -> None:
    save_part(tmp_path, 20, "lane-0", LaneCounters())
    with pytest.raises(CheckpointError, match="trainer-a"):
        checkpoints.seal(tmp_path, STREAM, 20, ["lane-0"], ["trainer-a"], FACTS)
    assert checkpoints.newest(tmp_path) is None


def test_one_part_may_be_newer_than_the_newest_checkpoint(tmp_path: Path) -> None:
    seal(tmp_path, 20)
    save_part(tmp_path, 40, "trainer-a", TrainerCounters())
    newest = (40, tmp_path / "checkpoints" / "40" / "trainer-a@7")
    assert checkpoints.newest_part(tmp_path, "trainer-a", STREAM) == newest
    assert checkpoints.newest_part(tmp_path, "trainer-b", STREAM) is None


def test_what_is_saved_in_an_older_stream_is_no_part_of_this_one(tmp_path: Path) -> None:
    sealed = seal(tmp_path, 20)
    save_part(tmp_path, 20, "lane-0", LaneCounters(next_block=99), stream=3)
    save_part(tmp_path, 40, "trainer-a", TrainerCounters(), stream=3)
    assert checkpoints.newest(tmp_path) == sealed
    assert checkpoints.newest_part(tmp_path, "trainer-a", STREAM) == (20, sealed.part("trainer-a"))


def test_pruning_keeps_the_newest_and_what_is_in_the_making(tmp_path: Path) -> None:
    for block in (0, 20, 40, 60):
        seal(tmp_path, block)
    save_part(tmp_path, 10, "trainer-a", TrainerCounters())
    save_part(tmp_path, 80, "trainer-a", TrainerCounters())
    checkpoints.prune(tmp_path, keep=2)
    assert blocks(tmp_path) == [40, 60, 80] and checkpoints.oldest(tmp_path) == 40


def test_pruning_leaves_what_somebody_reads(tmp_path: Path) -> None:
    for block in (0, 20, 40):
        seal(tmp_path, block)
    checkpoints.prune(tmp_path, keep=1, in_use={0})
    assert blocks(tmp_path) == [0, 40]
    checkpoints.prune(tmp_path, keep=1)
    assert blocks(tmp_path) == [40]


def test_all_parts_are_there_when_each_role_of_the_stream_has_saved(tmp_path: Path) -> None:
    save_part(tmp_path, 20, "lane-0", LaneCounters())
    save_part(tmp_path, 20, "trainer-a", TrainerCounters(), stream=STREAM - 1)
    assert checkpoints.missing_parts(tmp_path, STREAM, 20, ["lane-0", "trainer-a"])
    save_part(tmp_path, 20, "trainer-a", TrainerCounters())
    assert checkpoints.missing_parts(tmp_path, STREAM, 20, ["lane-0", "trainer-a"]) == []


def test_pruning_waits_for_enough_complete_checkpoints(tmp_path: Path) -> None:
    seal(tmp_path, 20)
    save_parts(tmp_path, 40)
    checkpoints.prune(tmp_path, keep=2)
    assert blocks(tmp_path) == [20, 40]


def test_what_lies_beyond_the_point_of_return_is_dropped(tmp_path: Path) -> None:
    for block in (20, 40):
        seal(tmp_path, block)
    save_part(tmp_path, 60, "trainer-a", TrainerCounters())
    checkpoints.drop_after(tmp_path, 20)
    assert blocks(tmp_path) == [20]
    checkpoints.drop_after(tmp_path, -1)
    assert blocks(tmp_path) == []


@pytest.mark.parametrize("delete", [lambda run: checkpoints.drop_after(run, 20), lambda run: checkpoints.prune(run, 1)])
def test_what_is_deleted_half_is_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delete: Callable[[Path], None]
) -> None:
    def die(folder: Path, ignore_errors: bool) -> None:
        raise KeyboardInterrupt

    for block in (20, 40):
        seal(tmp_path, block)
    monkeypatch.setattr("cluster.checkpoints.shutil.rmtree", die)
    with pytest.raises(KeyboardInterrupt):
        delete(tmp_path)
    told: list[str] = []
    assert checkpoints.newest(tmp_path, told.append) is not None and told == []
    assert len(list((tmp_path / "checkpoints").glob("*/manifest.json"))) == 1
