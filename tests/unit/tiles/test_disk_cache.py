"""Tiles on disk: whole or a miss, bounded, and no trouble to anyone who only wants a tile."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tiles import disk_room
from tiles.cache import Entry
from tiles.disk_cache import DiskCache
from tiles.disk_room import BLOCK, HARD, DiskRoom
from tiles.entry_format import MAGIC, NotAnEntry, pack, unpack

pytestmark = pytest.mark.anyio

PLENTY = 10_000_000
ENTRY = Entry(validator="v", body=b"g" * 100, truncated=("trees",), brotli=b"b" * 50, is_tight=True)


def entry(validator: str = "v", size: int = 100) -> Entry:
    return Entry(validator=validator, body=b"x" * size)


@asynccontextmanager
async def cache_in(folder: Path, max_bytes: int = PLENTY, **how: float) -> AsyncIterator[DiskCache]:
    cache = DiskCache(folder, max_bytes, **how)
    await cache.start()
    await swept(cache)
    yield cache
    await cache.close()


async def swept(cache: DiskCache) -> None:
    """Return once the sweeper has nothing to do."""
    await asyncio.wrap_future(cache._sweeper.submit(int))


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("??/*") if path.is_file())


async def test_what_one_worker_puts_another_gets_under_its_validator_only(tmp_path: Path) -> None:
    async with cache_in(tmp_path) as one, cache_in(tmp_path) as two:
        await one.put("k", ENTRY)
        assert await two.get("k", "v") == ENTRY
        assert await two.get("k", "w") is None
        assert await two.get("other", "v") is None
        await two.put("k", entry("w"))
        assert await one.get("k", "v") is None
        assert await one.get("k", "w") == entry("w")
    assert len(files(tmp_path)) == 1


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut off": lambda whole: whole[:-1],
    "cut in the header": lambda whole: whole[: len(MAGIC) + 10],
    "longer": lambda whole: whole + b"x",
    "a bit turned": lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]),
    "another form": lambda whole: b"quartier tile 0\n" + whole[len(MAGIC) :],
    "foreign": lambda _: b"<html>",
    "of another key": lambda _: pack("another", ENTRY),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
async def test_a_file_that_is_no_whole_entry_is_a_miss_and_goes(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    async with cache_in(tmp_path) as cache:
        await cache.put("k", ENTRY)
        [file] = files(tmp_path)
        file.write_bytes(damage(file.read_bytes()))
        assert await cache.get("k", "v") is None
        assert files(tmp_path) == []
        await cache.put("k", ENTRY)
        assert await cache.get("k", "v") == ENTRY


async def test_a_directory_in_the_place_of_an_entry_is_a_miss(tmp_path: Path) -> None:
    async with cache_in(tmp_path) as cache:
        await cache.put("k", ENTRY)
        [file] = files(tmp_path)
        file.unlink()
        file.mkdir()
        await cache.put("k", ENTRY)
        assert await cache.get("k", "v") is None
        await cache.put("other", ENTRY)
        assert await cache.get("other", "v") == ENTRY


def test_only_bytes_that_were_packed_are_unpacked() -> None:
    packed = pack("k", ENTRY)
    assert unpack("k", packed) == ENTRY
    for length in range(len(packed)):
        with pytest.raises(NotAnEntry):
            unpack("k", packed[:length])


async def test_the_bound_is_kept_and_the_least_recently_used_go_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiles.disk_cache.SWEEP_PAUSE_S", 0.0)
    bound = 40 * BLOCK
    async with cache_in(tmp_path, bound) as cache:
        for number in range(200):
            await cache.put(f"k{number}", entry(size=500))
            await cache.get("k0", "v")
            await swept(cache)
            taken = sum(BLOCK for _ in files(tmp_path))
            assert taken <= bound * HARD + BLOCK
        assert len(files(tmp_path)) > 20, "a sweep leaves what there is room for"
        assert await cache.get("k0", "v") is not None, "used all the time"
        assert await cache.get("k1", "v") is None, "used once, long ago"


async def test_the_count_is_true_again_after_a_sweep_whatever_happened(tmp_path: Path) -> None:
    async with cache_in(tmp_path) as cache:
        for number in range(10):
            await cache.put(f"k{number}", entry())
    room = DiskRoom(tmp_path, PLENTY)
    assert room.taken() == 10 * BLOCK
    for file in files(tmp_path)[:4]:
        file.unlink()
    (tmp_path / "taken").write_text("rubbish")
    room.sweep()
    assert room.taken() == 6 * BLOCK


async def test_workers_that_write_at_once_count_every_byte(tmp_path: Path) -> None:
    async with cache_in(tmp_path) as one, cache_in(tmp_path) as two:
        await asyncio.gather(
            *(
                cache.put(f"{i}-{n}", entry())
                for n in range(50)
                for i, cache in enumerate((one, two))
            )
        )
        usage = await one.usage()
        assert usage is not None
        assert usage.bytes == 100 * BLOCK


def test_only_one_worker_sweeps_at_a_time(tmp_path: Path) -> None:
    room = DiskRoom(tmp_path, 0)
    (tmp_path / "00").mkdir()
    (tmp_path / "00" / "ab").write_bytes(b"x")
    with disk_room._locked(tmp_path / "sweep.lock"):
        room.sweep()
        assert (tmp_path / "00" / "ab").exists()
    room.sweep()
    assert not (tmp_path / "00" / "ab").exists()


def test_what_a_killed_worker_left_half_written_goes_when_it_is_old(tmp_path: Path) -> None:
    (tmp_path / "00").mkdir()
    young, old = tmp_path / "00" / "1-1.new", tmp_path / "00" / "1-2.new"
    for file in (young, old):
        file.write_bytes(b"half")
    long_ago = time.time() - 2 * disk_room.TEMPORARY_S
    os.utime(old, (long_ago, long_ago))
    DiskRoom(tmp_path, PLENTY).sweep()
    assert young.exists()
    assert not old.exists()


async def test_a_folder_that_is_removed_meanwhile_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "tiles"
    async with cache_in(folder) as cache:
        await cache.put("k", ENTRY)
        shutil.rmtree(folder)
        assert await cache.get("k", "v") is None
        await cache.put("k", ENTRY)
        assert await cache.get("k", "v") == ENTRY
        assert not (await cache.turn("k", "v")).has_waited


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS], ids=["full", "read-only"])
async def test_a_disk_that_cannot_be_written_is_said_once_and_read_on(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cache_in(tmp_path) as cache:
        await cache.put("k", ENTRY)

        def refuse(*_: object) -> int:
            raise OSError(code, os.strerror(code))

        with monkeypatch.context() as patched, capture_logs() as said:
            patched.setattr(cache, "_replace", refuse)
            for number in range(5):
                await cache.put(f"k{number}", ENTRY)
            assert await cache.get("k", "v") == ENTRY
        assert [line["event"] for line in said] == ["tiles are not kept on disk"]
        cache._no_writes_until = 0.0
        await cache.put("k1", ENTRY)
        assert await cache.get("k1", "v") == ENTRY


async def test_a_home_that_nobody_may_write_to_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    async with cache_in(tmp_path / "file" / "tiles") as cache:
        await cache.put("k", ENTRY)
        assert await cache.get("k", "v") is None
        turn = await cache.turn("k", "v")
        await turn.release()


async def test_a_disk_that_does_not_answer_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiles.disk_cache.DISK_PATIENCE_S", 0.05)
    async with cache_in(tmp_path) as cache:
        asked: list[str] = []

        def slow(key: str, _: str) -> Entry | None:
            asked.append(key)
            time.sleep(0.3)
            return ENTRY

        monkeypatch.setattr(cache, "_read", slow)
        begun = time.monotonic()
        for _ in range(20):
            assert await cache.get("k", "v") is None
        assert time.monotonic() - begun < 0.25
        assert len(asked) == 1


async def test_turns_come_one_after_the_other_and_for_other_tiles_at_once(tmp_path: Path) -> None:
    async with cache_in(tmp_path) as one, cache_in(tmp_path) as two:
        first = await one.turn("k", "v")
        assert not first.has_waited
        assert not (await two.turn("k", "w")).has_waited
        second = asyncio.ensure_future(two.turn("k", "v"))
        await asyncio.sleep(0.05)
        assert not second.done()
        await first.release()
        assert (await asyncio.wait_for(second, 1)).has_waited


async def test_a_wait_that_is_too_long_ends_without_the_lock(tmp_path: Path) -> None:
    async with cache_in(tmp_path) as one, cache_in(tmp_path, patience_s=0.05) as two:
        first = await one.turn("k", "v")
        second = await two.turn("k", "v")
        assert second.has_waited
        await second.release()
        assert not await _is_free(two)
        await first.release()
        assert await _is_free(two)


async def _is_free(cache: DiskCache) -> bool:
    turn = await cache.turn("k", "v")
    await turn.release()
    return not turn.has_waited


async def test_who_stops_waiting_holds_nothing(tmp_path: Path) -> None:
    async with cache_in(tmp_path) as cache:
        first = await cache.turn("k", "v")
        waiter = asyncio.ensure_future(cache.turn("k", "v"))
        await asyncio.sleep(0.01)
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        await first.release()
        assert await _is_free(cache)


def started(program: str, folder: Path) -> subprocess.Popen[str]:
    """Another process, once it says that it is at work."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def ended(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


HOLDER = """
import asyncio, sys
from pathlib import Path
from tiles.disk_cache import DiskCache
async def main():
    cache = DiskCache(Path(sys.argv[1]), 10**7)
    await cache.start()
    await cache.turn("k", "v")
    print("held", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_a_killed_holder_keeps_nobody_waiting(tmp_path: Path) -> None:
    holder = started(HOLDER, tmp_path)
    async with cache_in(tmp_path) as cache:
        turn = asyncio.ensure_future(cache.turn("k", "v"))
        await asyncio.sleep(0.05)
        assert not turn.done()
        holder.send_signal(signal.SIGKILL)
        assert (await asyncio.wait_for(turn, 2)).has_waited
    ended(holder)


WRITER = """
import asyncio, sys
from pathlib import Path
from tiles.cache import Entry
from tiles.disk_cache import DiskCache
async def main():
    cache = DiskCache(Path(sys.argv[1]), 10**8)
    await cache.start()
    print("writes", flush=True)
    n = 0
    while True:
        n += 1
        letter = b"abc"[n % 3 : n % 3 + 1]
        await cache.put(f"k{n % 7}", Entry(validator="v", body=letter * (1000 + n % 50_000)))
asyncio.run(main())
"""


async def test_writers_killed_at_any_moment_leave_no_half_entry(tmp_path: Path) -> None:
    for trial in range(4):
        writer = started(WRITER, tmp_path)
        await asyncio.sleep(0.05 + 0.013 * trial)
        ended(writer)
        async with cache_in(tmp_path) as cache:
            for number in range(7):
                found = await cache.get(f"k{number}", "v")
                if found is not None:
                    assert len(set(found.body)) == 1
    assert files(tmp_path)


async def test_all_entries_are_cleared_the_unfinished_too(tmp_path: Path) -> None:
    async with cache_in(tmp_path) as cache:
        for number in range(30):
            await cache.put(f"k{number}", ENTRY)
        (tmp_path / "00").mkdir(exist_ok=True)
        (tmp_path / "00" / f"half{disk_room.UNFINISHED}").write_bytes(b"x")
        await cache.clear()
        assert files(tmp_path) == []
        assert await cache.get("k1", "v") is None
        await cache.put("k1", ENTRY)
        assert await cache.get("k1", "v") == ENTRY
