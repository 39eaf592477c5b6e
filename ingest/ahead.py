"""Make the next items while the last one is at work."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")
END: Final = object()


def ahead(items: Iterator[T], most: int = 1) -> Generator[T, None, None]:
    """The items, up to `most` of them made in a thread while their predecessor is with the caller.

    An error comes where its item would have come. Closing waits for the item that is being made,
    and closes `items` where it is a generator.
    """
    worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead")
    try:
        following = deque(worker.submit(next, items, END) for _ in range(most))
        while (item := following.popleft().result()) is not END:
            following.append(worker.submit(next, items, END))
            yield item  # type: ignore[misc]
    finally:
        worker.shutdown(cancel_futures=True)
        if isinstance(items, Generator):
            items.close()
