"""The errors that a user can cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


class TrainingError(Exception):
    """Training cannot go on: one line that names the stage and what to change."""
