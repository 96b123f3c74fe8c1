"""Where the password of an external registry may stand, and where it never does."""

import stat
from pathlib import Path

import pytest

from cluster.exit_code import exit_code
from cluster.job_place import read_run
from shared.errors import UserError
from shared.job_file import dump_job, parse_job
from shared.registry_connection import RegistryAddress
from shared.registry_place import registry_address
from shared.registry_secret import keep_password, password_of, with_kept_password, with_password, without_password
from tests.example_run import JOB_TEXT

SECRET = "hunter2/@:?"
QUOTED = "hunter2%2F%40%3A%3F"
URL = f"rediss://me:{QUOTED}@host:6379/0?ssl_ca_certs=/etc/ca.pem"


def test_password_is_taken_out_and_put_back() -> None:
    bare = without_password(URL)
    assert bare == "rediss://me@host:6379/0?ssl_ca_certs=/etc/ca.pem"
    assert password_of(URL) == SECRET and password_of(bare) is None
    assert with_password(bare, SECRET) == URL


@pytest.mark.parametrize("url", ["embedded", "redis://host", "unix:///tmp/redis.sock", "redis://me@host:1/2"])
def test_url_without_one_stays_as_it_is(url: str) -> None:
    assert without_password(url) == url == with_password(url, None) and password_of(url) is None


def test_password_file_is_read_by_whoever_connects_and_only_its_name_is_kept(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{SECRET}\n")
    url = f"redis://me@host/0?password_file={tmp_path / 'password'}"
    assert without_password(url) == url
    assert registry_address(url, "runs/x") == RegistryAddress(f"redis://me:{QUOTED}@host/0")
    keep_password(tmp_path, url)
    assert not (tmp_path / "registry.secret").exists()
    (tmp_path / "password").unlink()
    with pytest.raises(UserError, match=r"cannot read the registry's password in .*/password: No such file"):
        registry_address(url, "runs/x")


def test_run_folder_has_it_for_its_owner_only_and_a_copy_goes_along_when_it_moves(tmp_path: Path) -> None:
    job = parse_job(JOB_TEXT).model_copy(update={"registry": without_password(URL)})
    folder = tmp_path / "run"
    folder.mkdir(mode=0o777)
    (folder / "job.yaml").write_text(dump_job(job))
    keep_password(folder, URL)
    assert stat.S_IMODE((folder / "registry.secret").stat().st_mode) == 0o600
    folder = folder.rename(tmp_path / "moved")
    found = read_run(folder)
    assert found is not None and found.registry == URL == with_kept_password(job.registry, folder)
    assert SECRET not in (folder / "job.yaml").read_text() and QUOTED not in (folder / "job.yaml").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("run", "job.yaml", f"registry={URL}"), "registry must not hold a password on the command line"),
        (("submit", "job.yaml", f"registry={URL}"), "registry must not hold a password on the command line"),
        (("jobs", "--registry", URL), "--registry must not hold a password on the command line"),
        (("run", "job.yaml", "registry=redis://host?ssl_ca=x"), "registry must have nothing but password_file, "),
        (("jobs", "--registry", "redis://host?ssl_ca=x"), "registry must have nothing but password_file, "),
        (("run", "job.yaml", "registry=redis://host:six"), "registry must have a whole number as its port"),
    ],
)
def test_what_is_typed_wrongly_is_refused_without_showing_the_password(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("job.yaml").write_text(JOB_TEXT)
    assert exit_code(list(words)) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
    assert "hunter2" not in said


@pytest.mark.parametrize(
    "url", ["redis//me:hunter2@host", "redis://me:hunter2@host:six", "redis://me:hunter2@host?x=y"]
)
def test_error_about_a_job_files_url_shows_nothing_before_its_host(url: str) -> None:
    with pytest.raises(UserError, match=r"^registry must .*…@host") as caught:
        parse_job(f"{JOB_TEXT}registry: {url}\n")
    assert "hunter2" not in str(caught.value)
