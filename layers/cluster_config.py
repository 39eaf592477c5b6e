"""Settings of the embedded cluster, from the machine it runs on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")  # a container's share of the machine
SHARED_MEMORY = Path("/dev/shm")
ENOUGH_SHARED_MEMORY = 1 << 30  # bytes; containers often have 64 MB, too few for parallel queries
MB = 1 << 20


def configuration(*, socket_dir: Path, log: Path, options: Mapping[str, str]) -> str:
    """The text of a configuration file that postgresql.conf includes; `options` win.

    Operators change a setting with ALTER SYSTEM, which goes over this file.
    """
    settings = _settings(_memory_mb()) | {
        "unix_socket_directories": str(socket_dir),
        "log_directory": str(log),
        **options,
    }
    lines = [f"{name} = {_quoted(value)}" for name, value in settings.items()]
    return "\n".join(["# Written by Quartier at every start.", *lines, ""])


def _settings(memory_mb: int) -> dict[str, str]:
    return {
        "listen_addresses": "",
        "unix_socket_permissions": "0700",
        "shared_buffers": f"{min(max(memory_mb // 8, 128), 1024)}MB",
        "effective_cache_size": f"{max(memory_mb // 2, 256)}MB",
        "work_mem": "32MB",
        "maintenance_work_mem": "256MB",
        "dynamic_shared_memory_type": _dynamic_shared_memory(),
        # No replica follows this cluster, and a table built in one transaction need not be
        # written twice: a first load takes a quarter less time.
        "wal_level": "minimal",
        "max_locks_per_transaction": "512",  # a layer of 240 parts takes a thousand
        "max_wal_senders": "0",
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        "random_page_cost": "1.1",
        "jit": "off",
        "logging_collector": "on",
        "log_filename": "postgresql-%a.log",
        "log_truncate_on_rotation": "on",
        "log_rotation_size": "0",
        "log_checkpoints": "off",
        "log_line_prefix": "%m [%p] %u ",
        "lc_messages": "C",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }


def _memory_mb() -> int:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = int(MEMORY_LIMIT.read_text())
    except (OSError, ValueError):  # no cgroup v2, or "max"
        limit = machine
    return min(machine, limit) // MB


def _dynamic_shared_memory() -> str:
    try:
        roomy = shutil.disk_usage(SHARED_MEMORY).total >= ENOUGH_SHARED_MEMORY
    except OSError:
        roomy = False
    return "posix" if roomy else "mmap"


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
