"""Advisory locks that several modules take."""

from __future__ import annotations

RUN_LOCK = 0x52554E  # "RUN": the first half of the advisory lock of a layer's run
