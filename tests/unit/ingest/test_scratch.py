"""Folders of processes that were killed go with the next one."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ingest.errors import SourceRefused
from ingest.raw_store import RawStore
from ingest.scratch import scratch_folder

HOLD = """
import sys
from pathlib import Path
from ingest.scratch import scratch_folder
with scratch_folder("q-", Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    print(folder, flush=True)
    sys.stdin.read()
"""


def holder(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process with a folder of its own, and the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(parent)], text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_folder_is_gone_with_its_block(tmp_path: Path) -> None:
    with scratch_folder("q-", tmp_path) as folder:
        (folder / "half").write_text("half")
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_process_goes_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    (living, kept), (dying, left) = holder(tmp_path), holder(tmp_path)
    dying.send_signal(signal.SIGKILL)
    dying.communicate()
    assert (left / "half").exists()
    with scratch_folder("q-", tmp_path) as folder:
        assert {each.name for each in tmp_path.iterdir()} == {kept.name, folder.name}
        assert (kept / "half").exists()
    assert living.communicate("")[0] == ""
    assert list(tmp_path.iterdir()) == []


def test_what_only_has_such_a_name_stays(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "q-file").write_text("")
    (tmp_path / "q-link").symlink_to(other)
    with scratch_folder("q-", tmp_path):
        pass
    assert {each.name for each in tmp_path.iterdir()} == {"other", "q-file", "q-link"}


def test_a_file_half_kept_by_a_killed_process_goes_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.raw_store.SPARE_BYTES", 0)
    raw = tmp_path / "raw"
    raw.mkdir()
    dying, _ = holder(raw)
    dying.send_signal(signal.SIGKILL)
    dying.communicate()
    for left in raw.glob("q-*"):
        left.rename(raw / left.name.replace("q-", ".new-"))
    file = tmp_path / "file"
    file.write_text("whole")
    digest = hashlib.sha256(b"whole").hexdigest()
    RawStore(raw).keep(file, digest)
    assert [each.name for each in raw.iterdir()] == [digest[:2]]
    assert (raw / digest[:2] / digest).read_text() == "whole"


def test_a_file_that_changed_since_it_was_hashed_is_not_kept_by_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.raw_store.SPARE_BYTES", 0)
    file, raw = tmp_path / "file", tmp_path / "raw"
    file.write_text("other")
    with pytest.raises(SourceRefused, match="changed while it was read"):
        RawStore(raw).keep(file, hashlib.sha256(b"whole").hexdigest())
    assert not [each for each in raw.rglob("*") if each.is_file()]
