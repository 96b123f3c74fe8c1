from pathlib import Path

import pytest

from shared.files import first_folder, replace_folder, write_atomically


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "text")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "40"
    with replace_folder(folder) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "a").write_text("1")
        assert not folder.exists()
    assert (folder / "sub" / "a").read_text() == "1"
    assert [path.name for path in folder.parent.iterdir()] == ["40"]


def test_an_older_folder_is_replaced_with_all_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "sae"
    for name in ("old", "new"):
        with replace_folder(folder) as temporary:
            (temporary / name).write_text(name)
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["sae"]


def test_an_error_while_writing_leaves_the_old_folder(tmp_path: Path) -> None:
    folder = tmp_path / "sae"
    with replace_folder(folder) as temporary:
        (temporary / "old").write_text("old")
    with pytest.raises(RuntimeError, match="disk"), replace_folder(folder) as temporary:
        (temporary / "new").write_text("new")
        raise RuntimeError("disk")
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["sae"]


def test_of_two_that_write_a_folder_the_first_counts(tmp_path: Path) -> None:
    folder = tmp_path / "40" / "lane-0@7"
    with first_folder(folder) as late:
        (late / "state").write_text("late")
        with first_folder(folder) as early:
            (early / "state").write_text("early")
    assert (folder / "state").read_text() == "early"
    assert list(folder.parent.iterdir()) == [folder]


def test_a_first_folder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), first_folder(tmp_path / "40") as temporary:
        (temporary / "state").write_text(str(1 / 0))
    assert list(tmp_path.iterdir()) == []
