"""A language model behind any OpenAI-compatible endpoint, asked at temperature 0; no answer is paid for twice.

The key is read from the environment by whoever makes this, goes into one header, and is written nowhere.
"""

import asyncio
import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from features.journal import Journal
from features.judging import Messages
from shared.errors import HeadraceError, UserError

ANSWERS = "answers.jsonl"
TRIES = 5
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0


class NoAnswer(HeadraceError):
    """The judge did not answer, however often it was asked: `…/chat/completions: 500 Internal Server Error`."""


class Answers:
    """What judges have answered before, by the hash of the request, in a file that only grows."""

    def __init__(self, folder: Path) -> None:
        self._journal = Journal(folder / ANSWERS, required=("request", "answer"))
        self._known = {line.record["request"]: line.record["answer"] for line in self._journal.lines()}

    def get(self, request: str) -> str | None:
        return self._known.get(request)

    def add(self, request: str, answer: str, usage: dict[str, Any]) -> None:
        self._known[request] = answer
        self._journal.append([{"request": request, "answer": answer, "usage": usage}])


@dataclass
class Spent:
    """What was asked so far."""

    calls: int = 0
    """That went to the endpoint and came back with an answer."""
    stored: int = 0
    """That were answered from what is stored."""
    failed: int = 0
    """That were given up."""
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Judge:
    """`await judge.ask(messages)`; at most `concurrency` requests are under way at a time. An async context manager."""

    def __init__(
        self,
        endpoint: str,
        model: str,
        answers: Answers,
        key: str = "",
        concurrency: int = 8,
        timeout_s: float = 120.0,
        first_wait_s: float = FIRST_WAIT_S,
    ) -> None:
        self.model, self.answers, self.spent = model, answers, Spent()
        self._url = endpoint.rstrip("/") + "/chat/completions"
        self._first_wait_s = first_wait_s
        self._free = asyncio.Semaphore(concurrency)
        self._usage: dict[str, dict[str, Any]] = {}
        """request -> tokens, of answers that nobody has kept yet."""
        self._refusal = ""
        """Why nothing more is asked."""
        self.newest_failure = ""
        """Why the newest call that was given up was."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.AsyncClient(headers=headers, timeout=timeout_s)

    async def __aenter__(self) -> "Judge":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def ask(self, messages: Messages, max_tokens: int) -> str:
        """The answer, from what is stored or from the endpoint; `keep` writes it down.

        Raises:
            NoAnswer: it did not come, or was none, after several tries.
            UserError: the endpoint refuses what it was asked, or the key.
        """
        body = request_body(self.model, messages, max_tokens)
        name = request_hash(body)
        if (stored := self.answers.get(name)) is not None:
            self.spent.stored += 1
            return stored
        async with self._free:
            answer, usage = await self._patiently(body)
        self.spent.calls += 1
        self.spent.prompt_tokens += int(usage.get("prompt_tokens") or 0)
        self.spent.completion_tokens += int(usage.get("completion_tokens") or 0)
        self._usage[name] = usage
        return answer

    def keep(self, messages: Messages, max_tokens: int, answer: str) -> None:
        """Stores an answer that could be read, so that it is not paid for again."""
        name = request_hash(request_body(self.model, messages, max_tokens))
        if self.answers.get(name) is None:
            self.answers.add(name, answer, self._usage.pop(name, {}))

    async def _patiently(self, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Answer and usage; asks again, later and later, what failed for a reason that may pass."""
        for tried in range(1, TRIES + 1):
            if self._refusal:
                raise UserError(self._refusal)
            outcome = await self._once(body)
            if not isinstance(outcome, Failure):
                return outcome
            if tried == TRIES:
                self.spent.failed += 1
                self.newest_failure = outcome.reason
                raise NoAnswer(f"{self._url}: {outcome.reason}")
            self.spent.retries += 1
            await asyncio.sleep(wait_s(tried, outcome.retry_after_s, self._first_wait_s))
        raise AssertionError("the loop returns or raises")

    async def _once(self, body: dict[str, Any]) -> "tuple[str, dict[str, Any]] | Failure":
        try:
            response = await self._client.post(self._url, json=body)
        except httpx.TimeoutException:
            return Failure("no answer in time")
        except httpx.TransportError as error:
            return Failure(f"{type(error).__name__}")
        status = f"{response.status_code} {response.reason_phrase}"
        if response.status_code == 429 or response.status_code >= 500:
            return Failure(status, _seconds(response.headers.get("retry-after")))
        if response.status_code != 200:
            self._refusal = f"{self._url} refuses: {status}"
            raise UserError(self._refusal)
        return _content(response)


@dataclass(frozen=True)
class Failure:
    """Why a try came to nothing; it may pass."""

    reason: str
    retry_after_s: float | None = None


def request_body(model: str, messages: Messages, max_tokens: int) -> dict[str, Any]:
    return {"model": model, "messages": messages, "temperature": 0, "max_tokens": max_tokens}


def request_hash(body: dict[str, Any]) -> str:
    """The same for the same model, messages and parameters."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def wait_s(tried: int, retry_after_s: float | None, first_wait_s: float) -> float:
    """Twice as long each time, with chance so that not all come back at once; at least what the endpoint asked for."""
    doubled = min(LONGEST_WAIT_S, first_wait_s * 2 ** (tried - 1)) * random.uniform(0.5, 1.0)
    return max(doubled, min(retry_after_s or 0.0, LONGEST_WAIT_S))


def _content(response: httpx.Response) -> tuple[str, dict[str, Any]] | Failure:
    try:
        found = response.json()
        content = found["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        return Failure("an answer that is no chat completion")
    if not isinstance(content, str):
        return Failure("an answer without text")
    usage = found.get("usage")
    return content, usage if isinstance(usage, dict) else {}


def _seconds(header: str | None) -> float | None:
    """Of a Retry-After header; None for a date or nonsense."""
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None
