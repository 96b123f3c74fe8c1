"""`headrace compare`, as a user meets it: what it prints, writes and refuses, and that its page draws."""

import io
import json
import re
from html import unescape
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from example_suite import HOOKPOINT, MODEL, write_suite
from rich.console import Console

from cluster.compare_plots import site_plots
from cluster.compare_table import compare_view
from cluster.compare_wording import interval
from cluster.exit_code import exit_code
from cluster.run_compare import run_compare
from tests.browser import WatchedPage, browser
from trainers.law_fit import Estimate

__all__ = ["browser"]
ALL = [f"topk-{size}-k{k}" for size in (32, 64, 128, 256) for k in (2, 4, 8)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "sizes"
    return write_suite(folder, sizes=(32, 64, 128, 256), ks=(2, 4, 8), evaluated=ALL)


@pytest.fixture(scope="module")
def compared(run):
    return run_compare([run])


def words(path: Path) -> str:
    """What the page says, as a reader sees it, without scripts and style."""
    text = re.sub(r"<(script|style).*?</\1>", " ", path.read_text(), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


def test_the_page_tells_of_fronts_matches_and_laws(compared, run):
    text = words(compared.page)
    assert compared.page == run / "compare" / "compare.html"
    assert f"12 SAEs side by side · {HOOKPOINT} of {MODEL}" in text
    assert "topk-256-k8 topk k=8 256 100k 8.0 ● " in text and "held-out text" in text
    assert "topk-32-k2 topk-64-k2 1.000" in text and "Latents that split most" not in text
    assert "joint topk, 100,000 tokens 12 alpha" in text and "gamma" in text
    assert "L = exp(alpha + beta_k ln k" in text and "arXiv:2406.04093" in text
    assert "topk: the law tokens has 5 constants and needs at least" in text
    assert "Up to 100% of an SAE's latents have their nearest at their own number" in text
    assert "No SAE has been evaluated" not in text


def test_a_terminal_gets_one_reason_for_each_architecture_and_the_page_all(compared):
    console = Console(file=io.StringIO(), width=400)
    console.print(compare_view(compared.comparison, 400))
    said, (site,) = console.file.getvalue(), compared.comparison.sites
    assert len(site.laws.refused) >= 2 and {reason[:5] for reason in site.laws.refused} == {"topk:"}
    assert said.count("constants and needs at least") == 1
    assert f"{len(site.laws.refused) - 1} other law" in said
    assert words(compared.page).count("constants and needs at least") == len(site.laws.refused)


def test_the_facts_are_left_for_programs(compared, run):
    facts = json.loads((run / "compare" / "compare.json").read_text())
    assert facts == compared.facts and facts["format_version"] == 1
    site = facts["sites"][0]
    assert [one["name"] for one in site["saes"] if one["on_fvu_front"]] == [f"topk-256-k{k}" for k in (2, 4, 8)]
    assert [one["name"] for one in site["saes"] if one["on_ce_front"]] == [f"topk-256-k{k}" for k in (2, 4, 8)]
    assert len(site["pairs"]) == 18 and site["pairs_left_out"] == []
    joint = next(law for law in site["laws"] if law["name"] == "joint")
    assert joint["constants"].keys() == {"alpha", "beta_k", "beta_n", "gamma", "zeta", "eta"}
    assert joint["constants"]["alpha"].keys() == {"value", "low", "high"} and len(joint["saes"]) == 12
    assert len(pq.read_table(run / "compare" / "latents" / "topk-64-k2.parquet")) == 3 * 64


def test_every_plot_is_there(compared):
    drawn = [plot.id for plot in site_plots(compared.comparison.sites[0], 0)]
    assert drawn == [f"site-0-{name}" for name in ("front", "ce-front", "latents", "compute", "mmcs", "cosines")]


def test_what_is_printed(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    assert exit_code(["compare", str(run), "--match", "none", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert f"{HOOKPOINT} of {MODEL}  12 SAEs" in printed and "● 0.3175" in printed and "ΔCE" in printed
    assert f"page  {tmp_path / 'out' / 'compare.html'}" in printed and "MMCS" not in printed
    assert (tmp_path / "out" / "compare.html").is_file()


def test_json_is_all_that_is_printed_where_it_is_wanted(tmp_path, capsys):
    run = write_suite(tmp_path / "run", sizes=(32, 64))
    assert exit_code(["compare", str(run), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in facts["sites"][0]["saes"]] == ["topk-32-k4", "topk-64-k4"]
    assert facts["notes"][0].startswith("No SAE has been evaluated")


def test_one_sae_alone_has_a_page(tmp_path):
    compared = run_compare([write_suite(tmp_path / "run", sizes=(32,))])
    text = words(compared.page)
    assert "1 SAE side by side" in text and "Matched latents" not in text
    assert [plot.id for plot in site_plots(compared.comparison.sites[0], 0)] == ["site-0-front"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--match", "some"], "--match must be one of sizes, all, none, got 'some'"),
        (["--same", "1.5"], "--same must be above 0 and at most 1, got 1.5"),
    ],
)
def test_what_is_wrong_is_a_sentence(options, sentence, tmp_path, capsys):
    assert exit_code(["compare", str(tmp_path), *options]) == 2
    assert sentence in capsys.readouterr().err


def test_damaged_weights_are_named(tmp_path, capsys):
    run = write_suite(tmp_path / "run", sizes=(32, 64))
    (run / "saes" / "topk-64-k4" / "sae_weights.safetensors").write_bytes(b"half")
    assert exit_code(["compare", str(run)]) == 2
    assert "cannot read W_dec in" in capsys.readouterr().err


def test_a_floor_that_may_as_well_be_absent_reads_as_0():
    assert interval(Estimate(0.30123, 4.3e-8, 0.3456)) == "0.301 (0 … 0.35)"


def test_plots_are_drawn_and_nothing_leaves_the_page(compared, browser):
    watched = WatchedPage(browser, compared.page.as_uri(), viewport={"width": 420, "height": 800})
    page = watched.page
    page.goto(compared.page.as_uri())
    page.wait_for_selector("#site-0-cosines .scatterlayer path")
    for id in ("front", "ce-front", "latents", "compute"):
        assert page.locator(f"#site-0-{id} .scatterlayer path.point").count() == 12, id
    assert page.locator("#site-0-mmcs .heatmaplayer image").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    assert watched.complaints == []
    page.close()
