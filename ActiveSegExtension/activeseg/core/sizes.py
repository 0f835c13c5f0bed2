"""Sizes for a person to read: MB and GB of 10^6 and 10^9 bytes everywhere, as disks and downloads are counted."""

from __future__ import annotations


def size_text(count: float) -> str:
    """``135 MB`` or ``1.2 GB``."""
    return f"{count / 1e9:.1f} GB" if count >= 999_500_000 else f"{count / 1e6:.0f} MB"
