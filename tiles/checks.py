"""Is the tier that workers share in order: a folder within its bound, or a Redis that answers."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from layers.checks.finding import Finding, ok, problem, warning
from tiles.disk_room import HARD, DiskRoom

PATIENCE_S = 3


def shared_cache(url: str, disk_bytes: int) -> Finding:
    """The tier that the URL names; it has the form that the settings ask for."""
    if url == "memory:":
        return ok("cache", "workers share no tiles (memory:)")
    if url.startswith("file:"):
        return _folder(Path(unquote(urlsplit(url).path)), disk_bytes)
    return _redis(url)


def _folder(folder: Path, disk_bytes: int) -> Finding:
    about = "cache"
    if not folder.exists():
        return ok(about, f"{folder} is not there yet; the server makes it")
    if not folder.is_dir():
        return problem(about, f"{folder} is no folder", f"rm {folder}")
    taken = DiskRoom(folder, disk_bytes).measured()
    said = f"{taken / 1e6:,.0f} of {disk_bytes / 1e6:,.0f} MB in {folder}"
    if taken > disk_bytes * HARD:
        return warning(
            about, f"over its bound: {said}",
            f"start the server, which sweeps it, or rm -r {folder} (tiles are made again)",
        )  # fmt: skip
    return ok(about, said)


def _redis(url: str) -> Finding:
    import redis

    about, where = "cache", _without_login(url)
    try:
        with redis.Redis.from_url(
            url, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S
        ) as client:
            told = client.info("memory")
    except (redis.RedisError, OSError, ValueError) as exc:
        said = f"{where} does not answer ({type(exc).__name__}): each worker makes its own tiles"
        return problem(about, said, "start it, or correct QUARTIER_CACHE_URL")
    bound, policy = int(told.get("maxmemory", 0)), str(told.get("maxmemory_policy", ""))
    if not bound or policy == "noeviction":
        return warning(
            about, f"{where} answers; it has no bound, or does not forget ({policy})",
            "redis-cli CONFIG SET maxmemory 2gb; redis-cli CONFIG SET maxmemory-policy allkeys-lru",
        )  # fmt: skip
    return ok(about, f"{where} answers, keeps at most {bound / 1e6:,.0f} MB")


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
