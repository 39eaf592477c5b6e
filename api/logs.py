"""Logs of the server: lines of JSON, or something to read where a person looks on."""

from __future__ import annotations

import sys

import structlog


def configure() -> None:
    """To stderr: what a terminal shows is for people, everything else for programs."""
    shown = (
        structlog.dev.ConsoleRenderer()
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            shown,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
