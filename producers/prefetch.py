"""One item ahead: while the caller works on an item, a thread makes the next one."""

from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
END: Any = object()


def prefetched(items: Iterable[T]) -> Generator[T]:
    """`items` in order, each made while the one before it is in use; never more than one ahead.

    What making an item raises is raised here, in its place. Closing makes no more and does not wait for the item that
    is being made: where items are waited for, such as units of a full stream, that may take for ever.
    """
    source = iter(items)
    pool = ThreadPoolExecutor(1, "prefetch")
    try:
        ahead: Future[T] = pool.submit(next, source, END)
        while (item := ahead.result()) is not END:
            ahead = pool.submit(next, source, END)
            yield item
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
