"""The page in a real Chromium, each of its functions once: an error of a script fails, and a request elsewhere."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import WatchedPage, browser, until
from collected_run import SAE, collected_run
from example_run import write_example_run
from served_page import served

from cluster.ui_export import export
from cluster.ui_runs import Runs

__all__ = ["browser"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """Two runs that only their files tell of, and `run`, whose features were collected; the latent that is told of."""
    root = tmp_path_factory.mktemp("runs")
    write_example_run(root / "whole")
    write_example_run(root / "half", share=0.3, resumed=False)
    return root, collected_run(root)[1]


@pytest.fixture(scope="module")
def origin(runs: tuple[Path, int]) -> Iterator[str]:
    """The address of a server over the runs."""
    with served(runs[0]) as address:
        yield address


@pytest.fixture
def opened(browser: Any, origin: str) -> Iterator[Any]:
    """A page of the server, that must end without a complaint."""
    watched = WatchedPage(browser, origin, viewport={"width": 1300, "height": 900})
    watched.page.goto(origin)
    yield watched.page
    watched.page.close()
    assert watched.complaints == []


def test_runs_are_listed_and_one_shows_its_curves(opened):
    opened.wait_for_selector(".card.run >> nth=1")
    assert "500M of 500M tokens" in opened.inner_text("#run-whole")
    assert opened.locator("#run-whole").bounding_box()["width"] > 600
    opened.click("#run-whole h2 a")
    opened.wait_for_selector("#lags .scatterlayer .trace", state="attached")
    assert opened.locator("#fvu-by-tokens .scatterlayer .trace").count() == 7
    assert "The ledger balances." in opened.inner_text("main")
    held_out = opened.locator("section", has_text="Held-out text")
    assert held_out.locator("tbody tr").count() == 7 and "0.0884" in held_out.inner_text()
    opened.click(".keys button >> nth=0")
    until(opened, "document.querySelectorAll('#fvu-by-tokens .scatterlayer .trace').length === 6")
    opened.keyboard.press("?")
    assert "these keys" in opened.inner_text("dialog")


def test_latents_are_filtered_sorted_paged_and_drawn_at_random(opened, origin, runs):
    opened.goto(f"{origin}#/run/{SAE}")
    opened.wait_for_selector("main table tbody tr >> nth=49")
    opened.click("[aria-label='sort by density']")
    until(opened, "location.hash.includes('descending=true')")
    opened.keyboard.press("n")
    until(opened, "document.querySelectorAll('main tbody tr').length === 14")
    opened.keyboard.press("/")
    opened.keyboard.type("WATER wheels")
    until(opened, "document.querySelectorAll('main tbody tr').length === 1")
    assert f"#/run/{SAE}/{runs[1]}" == opened.locator("main tbody a").get_attribute("href")
    assert "water wheels mill safety:bias" in opened.inner_text("main tbody")
    opened.keyboard.press("Escape")
    opened.keyboard.press("r")
    opened.wait_for_selector("#group-top .context")


def test_a_share_is_a_part_or_percent_and_nothing_else(opened, origin):
    opened.goto(f"{origin}#/run/{SAE}")
    opened.wait_for_selector("main table tbody tr >> nth=49")
    for typed in ("5%", "0.05"):
        opened.fill("[name=density_min]", typed)
        until(opened, "location.hash.includes('density_min=0.05')")
        opened.fill("[name=density_min]", "")
        until(opened, "!location.hash.includes('density_min')")
    for typed in ("five", "%", "5%%"):
        opened.fill("[name=density_min]", typed)
        opened.wait_for_selector("[name=density_min].wrong")
    assert "density_min" not in opened.url


def test_latents_are_found_by_words_that_they_fire_on(opened, origin):
    opened.goto(f"{origin}#/run/{SAE}")
    opened.wait_for_selector("#matching")
    opened.select_option("[name=text_in]", "contexts")
    opened.fill("#search", "wheel")
    opened.keyboard.press("Enter")
    opened.wait_for_selector("[aria-label='sort by on words'] >> text=↓")
    opened.wait_for_selector("#matching >> text=fire on these words")
    cells = opened.locator("main tbody tr td:nth-child(2)").all_inner_texts()
    shares = [float(one.rstrip("%")) for one in cells]
    assert len(shares) > 5 and shares == sorted(shares, reverse=True) and shares[0] > 0
    assert "text=wheel" in opened.url and "text_in=contexts" in opened.url and "sort=share" in opened.url
    opened.reload()
    opened.wait_for_selector("[aria-label='sort by on words']")
    assert opened.locator("main tbody tr td:nth-child(2)").all_inner_texts() == cells
    opened.select_option("[name=text_in]", "")
    until(opened, "!document.querySelector(\"[aria-label='sort by on words']\")")
    assert "sort=share" not in opened.url and opened.input_value("#search") == "wheel"


def test_a_latents_page_shows_all_of_it_and_goes_on_to_the_next(opened, origin, runs):
    opened.goto(f"{origin}#/run/{SAE}/{runs[1]}")
    opened.wait_for_selector("#group-top .token.marked")
    assert opened.locator(".chart rect").count() > 2 and opened.locator(".logits li").count() == 20
    assert opened.locator("#group-top .token.marked").first.get_attribute("title").replace(".", "").isdigit()
    assert "narrow" in opened.inner_text("#neighbors") and "words about mills" in opened.inner_text("#explanations")
    assert opened.locator(".logits .piece .mark", has_text="\\x").count() > 0
    assert "\ufffd" not in opened.inner_text("main")
    opened.click("#explanations .score >> nth=0 >> summary")
    assert opened.locator("#explanations .score >> nth=0 >> tbody tr").count() == 6
    opened.click("text=whole contexts")
    opened.click("text=line breaks")
    assert opened.locator(".context.breaks").count() > 0
    with opened.expect_download() as saved:
        opened.click("text=JSON")
    assert saved.value.suggested_filename == f"{SAE}-{runs[1]}.json"
    after = min(63, runs[1] + 1)
    opened.keyboard.press("j")
    until(opened, f"document.title.startsWith('{after} of')")
    opened.keyboard.press("k")
    until(opened, f"document.title.startsWith('{max(0, after - 1)} of')")
    opened.click("#neighbors a[href*='narrow'] >> nth=0")
    until(opened, "document.title.includes('of narrow')")


def test_a_click_on_a_token_shows_what_the_latent_does_there(opened, origin, runs):
    opened.goto(f"{origin}#/run/{SAE}/{runs[1]}")
    opened.click("#group-top .token.marked >> nth=0")
    opened.wait_for_selector(".effects table")
    assert opened.locator(".effects tbody tr").count() == 5
    opened.click(".effects .token >> nth=1")
    opened.click(".effects >> text=close")
    assert opened.locator(".effects").count() == 0
    opened.focus("#group-top .token.marked >> nth=0")
    opened.keyboard.press("ArrowRight")
    assert opened.evaluate("document.activeElement.previousSibling.classList.contains('marked')")
    opened.keyboard.press("ArrowLeft")
    opened.keyboard.press("Enter")
    opened.wait_for_selector(".effects table")


def test_a_label_is_saved_and_seen_in_the_catalogue(opened, origin, runs):
    other = (runs[1] + 2) % 64
    opened.goto(f"{origin}#/run/{SAE}/{other}")
    opened.wait_for_selector("#label-save")
    opened.keyboard.press("l")
    opened.keyboard.type("falling water")
    opened.click("#labels >> text=safety:deception")
    opened.fill("#label-author", "eve")
    opened.click("#label-save")
    opened.wait_for_selector(".title >> text=falling water")
    opened.goto(f"{origin}#/run/{SAE}?tag=safety:deception")
    opened.wait_for_selector("main tbody >> text=falling water")


def test_ones_own_text_is_read(opened, origin, runs):
    opened.goto(f"{origin}#/run/{SAE}/text")
    opened.fill("#own-text", "The mill and the wheel.")
    opened.keyboard.press("Control+Enter")
    opened.wait_for_selector(".firing li >> nth=3")
    opened.click(".read .token >> nth=3")
    opened.wait_for_selector("text=Latents of ")
    opened.click(".firing >> text=map >> nth=0")
    opened.wait_for_selector("text=maximum here")
    assert "text=The+mill" in opened.url
    opened.goto(f"{origin}#/run/{SAE}/{runs[1]}")
    opened.wait_for_selector("#group-top")
    opened.fill("#own-text", "The mill.")
    opened.click("#read")
    opened.wait_for_selector(f"text=Latent {runs[1]}: maximum here")


def test_a_latent_steers_what_is_written(opened, origin, runs):
    opened.goto(f"{origin}#/run/{SAE}/{runs[1]}/steer")
    opened.fill("#prompt", "The mill")
    opened.fill("[name=max_new_tokens]", "4")
    opened.fill("[name=strength]", "3")
    opened.click("#write")
    opened.wait_for_selector("text=KL to the model by itself")
    assert opened.locator(".beside .tokens .token").count() == 4
    opened.click("#doses")
    opened.wait_for_selector(".doses svg >> nth=2")
    opened.select_option("[name=mode]", "ablate")
    opened.click("#doses")
    opened.wait_for_selector("text=There is no dose of ablate")


def test_a_prompt_of_tokens_that_are_pieces_of_letters_is_whole(opened):
    tokens = [" mill", "\\xf0\\x9f", "\\x99\\x82", "🙂", "\\x1b", "\\xe2"]
    read = opened.evaluate("(tokens) => import('headrace/tokens').then((one) => one.joined(tokens))", tokens)
    assert read == " mill🙂🙂\x1b\ufffd"


def test_why_nothing_was_written_stands_where_the_text_would_be(opened, origin, runs):
    opened.goto(f"{origin}#/run/{SAE}/{runs[1]}/steer")
    opened.fill("#prompt", "The mill. " * 64)
    opened.click("#write")
    opened.wait_for_selector(".beside .bad >> text=the model takes 64, new ones included")
    assert "…" not in opened.inner_text(".beside")


def test_an_explanation_is_rated_by_keys(opened, origin, runs):
    opened.goto(f"{origin}#/run/{SAE}/{runs[1]}")
    opened.click("text=rate it blind")
    opened.wait_for_selector("text=passage 1 of")
    passages = int(opened.inner_text(".rater .note").split()[-1])
    for at, key in enumerate("3b" + "0123" * passages):
        if opened.locator("#save-rating").count():
            break
        opened.keyboard.press(key)
        assert at < 2 * passages
    opened.fill("#rater", "eve")
    opened.click("#save-rating")
    opened.wait_for_selector("#rated >> text=agreement with some-model")


def test_an_exported_page_opens_from_a_disk_and_filters_as_the_server_does(browser, origin, runs, tmp_path):
    page = export(Runs(runs[0]), tmp_path / "page", lambda _: None)
    watched = WatchedPage(browser, (tmp_path / "page").as_uri(), viewport={"width": 1300, "height": 900})
    served = WatchedPage(browser, origin)
    for query in ("sort=max_act&descending=true", "sort=score&text=e", "density_min=0.1&sort=label", "tag=mill"):
        shown = []
        for one, base in ((watched, page.as_uri()), (served, origin)):
            one.page.goto(f"{base}#/run/{SAE}?{query}")
            one.page.wait_for_selector("#matching")
            until(one.page, "!document.body.classList.contains('busy')")
            shown.append(one.page.inner_text("#matching") + one.page.inner_text("main table"))
        assert shown[0] == shown[1]
    assert served.page.locator("[name=text_in]").count() == 1 and watched.page.locator("[name=text_in]").count() == 0
    opened = watched.page
    opened.goto(f"{page.as_uri()}#/run/{SAE}/{runs[1]}")
    opened.wait_for_selector("#group-top .token.marked")
    assert "words about mills" in opened.inner_text("#explanations")
    assert opened.locator("#label-save, #own-text, .title a").count() == 0
    for place, said in (
        (f"{runs[1]}/steer", "need the model"),
        ("?text=mill&text_in=contexts", "to search in contexts needs"),
        ("64", f"{SAE} has latents 0 to 63, got 64"),
        ("%E0", "got NaN"),
    ):
        opened.goto(f"{page.as_uri()}#/run/{SAE}/{place}")
        until(opened, f"document.querySelector('main .bad')?.innerText.includes({said!r})")
    opened.goto(f"{page.as_uri()}#/whole")
    opened.wait_for_selector("#fvu-by-tokens .scatterlayer .trace", state="attached")
    opened.goto(f"{page.as_uri()}#/")
    opened.wait_for_selector("#run-run")
    for one in (watched, served):
        one.page.close()
        assert one.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_page_does_not_scroll_sideways(browser, origin, runs, scheme):
    watched = WatchedPage(browser, origin, viewport={"width": 420, "height": 800}, color_scheme=scheme)
    for place, sign in (
        ("#/", ".card.run"),
        ("#/half", "#fvu-by-tokens .scatterlayer"),
        (f"#/run/{SAE}", "table"),
        (f"#/run/{SAE}/{runs[1]}", "#group-top"),
        (f"#/run/{SAE}/{runs[1]}/steer", "#write"),
        (f"#/run/{SAE}/text", "#own-text"),
    ):
        watched.page.goto(origin + place)
        watched.page.wait_for_selector(f"main {sign}", state="attached")
        assert watched.page.evaluate("document.documentElement.scrollWidth") <= 420
    watched.page.close()
    assert watched.complaints == []
