"""A running job in a real Chromium: the page follows the registry by itself, and says so when the job ends."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import WatchedPage, browser, until
from live_job import RUN, SAE, LiveJob, live_job
from served_page import served

from shared.job_state import JobState

__all__ = ["browser"]

NEWEST = "document.querySelector('#fvu-by-tokens')._fullData.flatMap((one) => [...one.y]).at(-1)"


@pytest.fixture
def followed(browser: Any, tmp_path: Path) -> Iterator[tuple[Any, str, LiveJob]]:
    """A page, the server's address, and a job that has run for a while; the page must end without a complaint."""
    with live_job(tmp_path) as job, served(tmp_path) as origin:
        job.measure(cursor=1, lag_blocks=1, fvu=0.5)
        watched = WatchedPage(browser, origin, viewport={"width": 1300, "height": 900})
        yield watched.page, origin, job
        watched.page.close()
    assert watched.complaints == []


def cells_of(page: Any) -> list[str]:
    """Of the SAE's row in the first table, as they read, without the mark of the front."""
    cells = page.locator("main table >> nth=0").locator("tr", has_text=SAE).locator("td").all_inner_texts()
    return [one.removeprefix("● ") for one in cells]


def has_cell(text: str) -> str:
    return f"[...document.querySelectorAll('main td')].some((one) => one.innerText.includes('{text}'))"


def test_a_running_jobs_page_follows_the_registry_until_the_job_ends(followed: tuple[Any, str, LiveJob]) -> None:
    page, origin, job = followed
    page.goto(f"{origin}#/{RUN}")
    page.wait_for_selector("#fvu-by-tokens .scatterlayer .trace", state="attached")
    assert page.inner_text(".chip >> nth=0") == "running"
    assert "0.5000" in cells_of(page) and cells_of(page)[-1] == "1"
    page.click("text=What the job is made of")
    page.evaluate("window.untouched = true")
    job.measure(cursor=5, lag_blocks=7, fvu=0.125)
    job.registry.add_event("producer-died", "producer-1 died (exit 137)")
    until(page, has_cell("0.1250"))
    until(page, f"{NEWEST} === 0.125")
    assert "0.1250" in cells_of(page) and cells_of(page)[-1] == "7"
    assert "producer-1 died (exit 137)" in page.inner_text(".events")
    assert page.locator("details[open]", has_text="What the job is made of").count() == 1
    job.registry.set_state(job.token, JobState.STOPPED)
    until(page, "document.querySelector('.chip').innerText === 'stopped'")
    assert page.evaluate("window.untouched")


def test_the_list_of_runs_follows_too(followed: tuple[Any, str, LiveJob]) -> None:
    page, origin, job = followed
    page.goto(origin)
    page.wait_for_selector(f"#run-{RUN} table")
    assert "0.5000" in cells_of(page)
    job.measure(cursor=5, lag_blocks=7, fvu=0.125)
    until(page, has_cell("0.1250"))
