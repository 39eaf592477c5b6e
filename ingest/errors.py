"""What can go wrong in `ingest`, one class a failure.

IngestError
└── SourceRefused       a source cannot be read as its layer declares; nothing was taken
"""

from __future__ import annotations


class IngestError(Exception):
    """Anything `ingest` says on purpose. Its text may be shown to an officer."""


class SourceRefused(IngestError):
    """A whole source is refused. The text names the file, the field, the value and the fix."""

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(f"{file}: {problem}")
        self.file = file
        self.problem = problem
