"""Progress while a job runs: a live picture on a terminal, plain lines elsewhere."""

import io

import pytest
from example_run import example_events, example_job, example_snapshot, example_trainers, trainer_counters
from rich.console import Console

from cluster.progress import PlainDisplay, final_table, progress_display, progress_view
from cluster.status import status_facts
from shared.job_state import JobState

JOB = example_job()


def terminal(width=100, height=40):
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=None)


def pipe():
    return Console(file=io.StringIO(), width=40)


def lines(console):
    return console.file.getvalue().splitlines()


def drawn(facts, max_trainers=50, width=100):
    console = Console(file=io.StringIO(), width=width)
    console.print(progress_view(facts, max_trainers))
    return console.file.getvalue()


def test_the_picture_tells_the_job_its_stream_and_every_trainer():
    text = drawn(status_facts(example_snapshot(), JOB))
    words = ("gpt2-sizes", "running", "25%", "125M of 500M tokens", "121k tokens/s", "left", "contexts per block")
    assert [word for word in (*words, "reservoir 99%", "bound by  producers") if word not in text] == []
    assert [one.name for one in JOB.trainers if one.name not in text] == []


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_picture_fits(width):
    text = drawn(status_facts(example_snapshot(), JOB), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "0.0850" in text


def test_where_not_all_find_room_the_furthest_behind_are_shown():
    trainers = {**example_trainers(7639), "relu-16384": trainer_counters(3000)}
    text = drawn(status_facts(example_snapshot(trainers=trainers), JOB), max_trainers=1)
    assert "relu-16384" in text and "topk-16384-k32" not in text
    assert "and 6 other trainers, further along: 25%" in text


def test_a_trainer_that_does_not_run_says_so():
    trainers = {**example_trainers(7639), "relu-16384": trainer_counters(3000, state="restarting")}
    assert "restarting" in drawn(status_facts(example_snapshot(trainers=trainers), JOB))


def test_a_terminal_gets_events_above_and_keeps_the_last_picture():
    console = terminal()
    with progress_display(JOB, console) as display:
        display.update(example_snapshot())
        display.event(example_events()[3])
        display.update(example_snapshot(state=JobState.FINISHED))
    text = console.file.getvalue()
    assert "producer-1 died (exit 137)" in text
    assert "finished" in text[text.rindex("gpt2-sizes") :]


def test_a_pipe_gets_a_line_every_ten_seconds():
    now, console = 0.0, pipe()
    display = PlainDisplay(JOB, console, clock=lambda: now)
    for now in range(0, 25):  # noqa: B007
        display.update(example_snapshot())
    assert len(lines(console)) == 3
    assert all(line.startswith("gpt2-sizes  running") and "bound by producers" in line for line in lines(console))


def test_a_pipe_gets_every_event_and_change_of_state_at_once():
    console = pipe()
    with progress_display(JOB, console) as display:
        display.update(example_snapshot())
        display.event(example_events()[4])
        display.update(example_snapshot(state=JobState.DRAINING))
    assert len(lines(console)) == 3
    assert "<b>not UTF-8</b>" in lines(console)[1] and "draining" in lines(console)[2]


def test_a_pipe_gets_the_last_word():
    console = pipe()
    with progress_display(JOB, console) as display:
        display.update(example_snapshot())
        display.update(example_snapshot(trainers=example_trainers(8000)))
    assert len(lines(console)) == 2 and "131M" in lines(console)[1]


def test_nothing_of_a_pipe_is_markup_or_colour():
    console = pipe()
    with progress_display(JOB, console) as display:
        display.update(example_snapshot(message="[bold]what the user wrote[/bold]"))
    assert "[bold]what the user wrote[/bold]" in console.file.getvalue() and "\x1b" not in console.file.getvalue()


def test_an_exception_leaves_the_display_through_the_end():
    console = pipe()
    with pytest.raises(KeyError), progress_display(JOB, console) as display:
        display.update(example_snapshot())
        raise KeyError


def test_the_final_table_names_every_sae():
    whole = {"tokens": 500_000_000, "fvu": 0.0712, "l0": 32.0, "dead_fraction": 0.0123, "tokens_per_s": 121_234.0}
    rows = [{"name": JOB.trainers[0].name, **whole}, {"name": JOB.trainers[1].name, "fvu": None}]
    console = Console(file=io.StringIO(), width=100)
    console.print(final_table(JOB, rows))
    head, _, first, second = lines(console)
    assert head.split() == ["name", "latents", "tokens", "FVU", "L0", "dead", "%", "tokens/s"]
    assert first.split() == ["topk-16384-k32", "16,384", "500M", "0.0712", "32.0", "1.2", "121k"]
    assert second.split() == ["topk-16384-k64", "16,384", "—", "—", "—", "—", "—"]
