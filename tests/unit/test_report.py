"""The report: what it says of whole, half and damaged runs, and that its plots really draw."""

import json
import re
import shutil
from pathlib import Path

import pytest
from example_run import example_job, write_example_run

from cluster.html import Html, element, table
from cluster.report import write_report
from cluster.report_plots import plots
from cluster.run_facts import read_run
from shared.errors import UserError
from shared.job_file import dump_job
from tests.browser import WatchedPage, browser

__all__ = ["browser"]
ALL_PLOTS = [
    "fvu-by-tokens",
    "evaluation-fvu-by-tokens",
    "evaluation-ce-increase-by-tokens",
    "l0-by-tokens",
    "dead-fraction-by-tokens",
    "density",
    "losses-by-tokens",
    "front",
    "sizes",
    "rows-per-s",
    "lags",
    "block-contexts",
]


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_example_run(tmp_path_factory.mktemp("runs") / "whole")


@pytest.fixture
def half_run(tmp_path: Path) -> Path:
    return write_example_run(tmp_path / "half", share=0.3, resumed=False)


def words(path: Path) -> str:
    """What the page says, without scripts and style."""
    text = re.sub(r"<(script|style).*?</\1>", " ", path.read_text(), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def test_a_whole_run_tells_everything(whole_run):
    text = words(write_report(whole_run))
    assert "7 SAEs, all finished · 500,000,000 of 500,000,000 tokens (100%)" in text
    assert "openai-community/gpt2" in text and "data/openwebtext/*.parquet" in text
    assert "topk-262144-k64 topk 262,144 64 500M 0.0850 64.0 1.2% 121k saes/topk-262144-k64" in text
    assert "About 39,000 contexts of the corpus were held out: no trainer has read them." in text
    assert "The ledger balances." in text and "= staged + resident + emitted + surplus" in text
    assert "producer-1 died (exit 137)" in text
    assert "Still in training" not in text and "There is no" not in text


def test_held_out_numbers_are_those_of_the_evaluation_or_else_of_the_newest_checkpoint(whole_run, half_run):
    text = words(write_report(whole_run))
    assert "Measured on 1,024 contexts (130,048 tokens) that no trainer has read." in text
    assert "cross-entropy there is 3.257 nats, 13.114 with zeros in place, 9.871 with means" in text
    assert "topk-262144-k64 the end 0.0884 64.0 2.0% 0.2% 0.9512 0.997 0.0796 0.9920 0.0707" in text
    assert re.search(r"relu-16384 458M tokens 0\.\d{4} 51\.3 2\.0% — — — 0\.\d{4} 0\.9\d{3} 0\.\d{4}", text)
    half = words(write_report(half_run))
    assert "Measured on 1,024 contexts that no trainer has read." in half and "topk-262144-k64 150M tokens" in half
    assert "no loss with reconstructions in place" not in text + half


def test_a_run_that_measured_nothing_has_no_section_for_it(half_run):
    for part in (half_run / "metrics").glob("*.parquet"):
        part.unlink()
    assert "Held-out text" not in words(write_report(half_run))


def test_every_plot_is_there(whole_run):
    assert [plot.id for plot in plots(read_run(whole_run))] == ALL_PLOTS


def test_curves_of_a_resumed_run_never_go_back(whole_run):
    for plot in plots(read_run(whole_run))[:4]:
        assert len(plot.figure.data) >= len(example_job().trainers)
        assert all(list(trace.x) == sorted(trace.x) for trace in plot.figure.data)


def test_a_half_run_says_what_is_missing(half_run):
    for name in ("ledger.json", "events.json"):
        (half_run / name).unlink()
    text = words(write_report(half_run))
    assert "7 SAEs, in training" in text and "150,000,000 of 500,000,000 tokens (30%)" in text
    assert "Still in training: every SAE." in text
    assert "There is no ledger.json yet." in text and "There is no events.json yet." in text


def test_a_run_of_which_only_the_job_is_there_has_a_report(tmp_path):
    (tmp_path / "job.yaml").write_text(dump_job(example_job()))
    text = words(write_report(tmp_path))
    assert "There is nothing to draw yet." in text and "Nothing has been measured yet" in text
    assert "plotly.js" not in (tmp_path / "report.html").read_text()


def test_damaged_parts_are_named(half_run):
    (half_run / "ledger.json").write_text("{")
    (half_run / "events.json").write_text('{"not": "a list"}')
    (half_run / "metrics" / "part-0.parquet").write_bytes(b"half")
    text = words(write_report(half_run))
    assert "ledger.json is damaged" in text and "events.json does not hold what it should" in text
    assert "metrics/part-0.parquet is damaged, and what it held is left out" in text
    (half_run / "ledger.json").write_text('{"imbalances": [], "lanes": 5}')
    assert "ledger.json does not hold a ledger" in words(write_report(half_run))


def test_an_imbalance_is_said(whole_run, tmp_path):
    run = shutil.copytree(whole_run, tmp_path / "run")
    ledger = json.loads((run / "ledger.json").read_text())
    (run / "ledger.json").write_text(json.dumps({**ledger, "imbalances": ["lane-0: 5 rows pushed, but <4> emitted"]}))
    text = words(write_report(run))
    assert "The ledger does not balance. lane-0: 5 rows pushed, but &lt;4&gt; emitted" in text


def test_a_trainer_that_left_the_job_keeps_its_place(whole_run, tmp_path):
    run = shutil.copytree(whole_run, tmp_path / "run")
    (run / "saes" / "relu-16384").rename(run / "saes" / "left-early")
    text = words(write_report(run))
    assert "left-early standard 16,384" in text and "Still in training: relu-16384." in text


def test_a_folder_that_is_no_run_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"is not a run folder: it holds no job\.yaml"):
        write_report(tmp_path)


def test_what_a_user_wrote_is_text(tmp_path):
    job = example_job()
    corpus = job.corpus.model_copy(update={"source": "<script>alert(1)</script>"})
    (tmp_path / "job.yaml").write_text(dump_job(job.model_copy(update={"corpus": corpus})))
    (tmp_path / "events.json").write_text(json.dumps([{"time_ms": 1, "kind": "<i>", "message": "<img src=x>"}]))
    page = write_report(tmp_path).read_text()
    assert "<script>alert" not in page and "<img" not in page and "<i>" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_html_escapes_all_but_html():
    assert element("td", "a<b", Html("<b>c</b>"), class_='"x"') == '<td class="&quot;x&quot;">a&lt;b<b>c</b></td>'
    assert "<td>&amp;</td>" in table(["head"], [["&"]])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_plots_are_drawn_and_nothing_leaves_the_page(whole_run, browser, scheme):
    path = write_report(whole_run)
    watched = WatchedPage(browser, path.as_uri(), color_scheme=scheme)
    page = watched.page
    page.goto(path.as_uri())
    page.wait_for_selector(f"#{ALL_PLOTS[-1]} .scatterlayer path")
    for id in ALL_PLOTS:
        marks = page.locator(f"#{id} .scatterlayer path.js-line, #{id} .scatterlayer path.point")
        assert marks.count() >= 2, id
        assert all(len(marks.nth(at).get_attribute("d")) > 5 for at in range(marks.count()))
        for labels in (page.locator(f"#{id} .{axis}tick text").all_text_contents() for axis in "xy"):
            assert len(set(labels)) == len(labels), (id, labels)
    assert watched.complaints == []
    page.close()


def test_plots_stay_in_a_narrow_page_and_answer_the_pointer(whole_run, browser):
    page = WatchedPage(browser, "file:", viewport={"width": 420, "height": 800}).page
    page.goto(write_report(whole_run).as_uri())
    page.wait_for_selector("#fvu-by-tokens .scatterlayer .trace")
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    traces = page.locator("#fvu-by-tokens .scatterlayer .trace")
    assert traces.count() == 7
    page.click(".keys button >> nth=0")
    page.wait_for_timeout(300)
    assert traces.count() == 6
    page.locator("#fvu-by-tokens .nsewdrag").first.hover()
    page.wait_for_selector("#fvu-by-tokens .hoverlayer text")
    page.close()
