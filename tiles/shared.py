"""The shared tier that an operator chose."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from tiles.cache import SharedTier
from tiles.disk_cache import DiskCache

REDIS = ("redis", "rediss", "unix")


def check_cache_url(url: str) -> str:
    """The URL, when it names a tier; raises ValueError with the fix."""
    parts = urlsplit(url)
    is_folder = parts.scheme == "file" and not parts.netloc and len(parts.path) > 1
    if not (is_folder or url == "memory:" or (parts.scheme in REDIS and url.find("://") > 0)):
        raise ValueError(
            "write file:///a/folder, redis://host:6379/0, or memory: for no cache in common"
        )
    return url


def shared_tier(url: str, disk_bytes: int) -> SharedTier | None:
    """The tier, not yet started; None for `memory:`."""
    if url == "memory:":
        return None
    if url.startswith("file:"):
        return DiskCache(Path(unquote(urlsplit(url).path)), disk_bytes)
    from tiles.redis_cache import RedisCache  # its client takes long to import; few need it

    return RedisCache(url)
