"""Make the next item while the last one is at work."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")
END: Final = object()


def ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The items, each but the first made in a thread while its predecessor is with the caller.

    One item more than before is held. An error comes where its item would have come. Closing waits
    for the item that is being made, and closes `items` where it is a generator.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead") as worker:
        following = worker.submit(next, items, END)
        try:
            while (item := following.result()) is not END:
                following = worker.submit(next, items, END)
                yield item  # type: ignore[misc]
        finally:
            following.exception()
            if isinstance(items, Generator):
                items.close()
