"""What comes from strangers: names, text that a terminal or a page would obey, files that would run code."""

import ast
import io
import json
import pickle
import shlex
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from rich.table import Table
from rich.text import Text

from cluster.closing import next_commands
from cluster.exit_code import exit_code
from cluster.progress import progress_display
from cluster.report import write_report
from cluster.screen import Screen
from producers.corpus import Corpus
from shared.config import CorpusConfig
from shared.errors import UserError
from shared.job_file import dump_job, parse_job
from shared.registry_facts import Event
from tests.example_run import JOB_TEXT, example_events, write_example_run

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("cluster", "producers", "trainers", "features", "shared")
ESCAPES = "\x1b[2J\x1b]0;mine\x07\x9b31m\r\u202eevil\b"
PATHS = ("", ".", "..", "../x", "a/b", "/etc", "a\\b", ".registry", "~", "a" * 65)
COMMANDS = ("-rf", "--help", "a b", "$(id)", "`id`", "a;id", "a|b", "a&b", "a'b", 'a"b', "a*", "<b>")
KEYS = ("{a}", "a}:jobs", "a:b", "a\n", "\na", "a\0", "a\x1b[31m", "é")


@pytest.mark.parametrize("name", [*PATHS, *COMMANDS, *KEYS])
def test_names_that_could_be_a_path_a_key_or_a_command_are_refused(name: str) -> None:
    for key in ("name", "trainers.0.name"):
        raw = JOB_TEXT.replace("gpt2-sizes", json.dumps(name)) if key == "name" else JOB_TEXT
        if key != "name":
            raw = raw.replace('"topk-{num_latents}-k{k}"', json.dumps(name.replace("{", "{{").replace("}", "}}")))
        with pytest.raises(UserError, match="name"):
            parse_job(raw)


def shown(*what: object) -> str:
    """What a terminal gets."""
    screen = Screen(file=io.StringIO(), force_terminal=True, color_system="truecolor", markup=False, highlight=False)
    for one in what:
        screen.print(one)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def test_terminal_gets_no_control_characters_but_richs_own() -> None:
    table = Table()
    table.add_row(ESCAPES, Text(ESCAPES, style="red"))
    text = shown(ESCAPES, table, Text(ESCAPES, style="bold"))
    for character in "\x07\x08\x9b\r\u202e":
        assert character not in text
    assert "\x1b[2J" not in text and "\x1b]0" not in text
    assert "\\x1b[2J" in text and "\\u202e" in text
    assert "\x1b[1m" in text, "rich may still write in bold"


def test_terminal_shows_brackets_as_they_are() -> None:
    assert "[red]x[/red] [link=file:///etc]y[/link]" in shown("[red]x[/red] [link=file:///etc]y[/link]")


@pytest.mark.parametrize("words", [("status", ESCAPES), ("run", f"{ESCAPES}.yaml"), ("evaluate", ESCAPES)])
def test_errors_do_not_pass_on_what_was_typed_as_control_characters(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code(list(words)) == 2
    said = capsys.readouterr().err
    assert not set("\x1b\x07\x9b\r\u202e\b") & set(said), repr(said)


@pytest.mark.parametrize(
    "words",
    [
        ("status", "a\nb"),
        ("run", "a\nb.yaml"),
        ("run", "c.yaml", "output=a\tb"),
        ("resume", "a\nb"),
        ("report", "a\nb"),
    ],
)
def test_errors_are_one_line_whatever_was_typed(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(JOB_TEXT)
    assert exit_code(list(words)) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.rstrip("\n").isprintable(), repr(said)


def test_an_error_is_one_line_that_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(UserError("a\nb\x1b[2J")))
    assert type(error) is UserError and str(error) == r"a\nb\x1b[2J"


def test_an_error_that_quotes_a_page_keeps_its_beginning_and_its_end() -> None:
    sentence = str(UserError(f"output {'a' * 5000} is no folder; choose another"))
    assert (
        len(sentence) < 1000
        and sentence.startswith("output aaa")
        and sentence.endswith("aaa is no folder; choose another")
    )


def test_progress_shows_an_events_text_and_obeys_none_of_it() -> None:
    screen = Screen(file=io.StringIO(), force_terminal=False, markup=False, width=200)
    with progress_display(parse_job(JOB_TEXT), screen) as display:
        display.event(Event("1-0", 1_770_000_000_000, "unit-dead", f"unit 3 is set aside: {ESCAPES} [red]"))
    assert isinstance(screen.file, io.StringIO)
    text = screen.file.getvalue()
    assert "\x1b" not in text and "\\x1b[2J" in text and "[red]" in text


def test_report_escapes_whatever_stands_in_the_run(tmp_path: Path) -> None:
    script = "<script>alert(1)</script>"
    folder = write_example_run(tmp_path / "run")
    job = parse_job(JOB_TEXT.replace("[transformer.h.8]", f'["{script}"]').replace("openai-community/gpt2", script))
    corpus = job.corpus.model_copy(update={"text_column": script, "source": script})
    (folder / "job.yaml").write_text(dump_job(job.model_copy(update={"corpus": corpus})))
    events = [replace(one, kind=script, message=f'{script}" onload="x') for one in example_events()]
    (folder / "events.json").write_text(json.dumps([vars(one) for one in events]))
    write_report(folder)
    page = (folder / "report.html").read_text()
    assert script not in page and "&lt;script&gt;alert(1)" in page and '" onload="x' not in page


@pytest.mark.parametrize("folder", ["runs/two words", "runs/it's", 'runs/"; id; "', "runs/$(id)", "runs/`id`\\"])
def test_commands_to_type_next_name_the_folder_to_a_shell_as_it_is(folder: str) -> None:
    job = parse_job(JOB_TEXT).model_copy(update={"output": folder})
    status, *_, load, sae_lens = (shlex.split(line) for line in next_commands(job))
    assert status[-1] == folder
    for program in (load[-1], sae_lens[-1]):
        called = [one for one in ast.walk(ast.parse(program)) if isinstance(one, ast.Constant)]
        assert [one.value for one in called] == [f"{folder}/saes/{job.trainers[0].name}"]


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_arrow_file_that_names_pythons_own_extension_type_unpickles_nothing(tmp_path: Path) -> None:
    metadata = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Bomb(tmp_path / "ran")),
    }
    schema = pa.schema([pa.field("text", pa.string(), metadata=metadata)])
    with pa.OSFile(str(tmp_path / "bomb.arrow"), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(pa.Table.from_arrays([pa.array(["some words"])], schema=schema))
    Corpus.open(CorpusConfig(source=str(tmp_path / "bomb.arrow")), seed=0, holdout=0.0)
    assert not (tmp_path / "ran").exists()


UNSAFE = {"pickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
SUSPECT = (*UNSAFE, "torch.load", "yaml.load", "register_extension_type")


def test_nothing_unpickles_but_the_import_that_a_user_must_allow() -> None:
    found = []
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if any(word in text for word in SUSPECT) else ():
            names = {one.name for one in node.names} if isinstance(node, ast.Import) else set()
            names |= {node.module or ""} if isinstance(node, ast.ImportFrom) else set()
            call = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            words = {one.arg: ast.unparse(one.value) for one in node.keywords} if isinstance(node, ast.Call) else {}
            if names & UNSAFE or call.endswith(("torch.load", "read_pickle", "register_extension_type")):
                found.append((path.name, call))
            assert call != "torch.load" or words.get("weights_only") == "True", path
            assert words.get("allow_pickle", "False") != "True", path
            assert not call.endswith("yaml.load") or "StrictLoader" in ast.unparse(node), path
    allowed = {"weight_files.py", "openai_format.py", "dictionary_learning_format.py"}
    assert {name for name, _ in found} <= allowed, found
