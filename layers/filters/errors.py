"""What can be wrong with a filter, before it is known which parameter it came with."""

from __future__ import annotations


class FilterRefused(Exception):
    """Why a filter cannot be read or asked: a sentence that names the place and the fix."""
