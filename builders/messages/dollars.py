"""US dollars in text."""

from __future__ import annotations


def dollars(value: float) -> str:
    """With cents; what is less than a cent with its first two digits, so that it does not read as free.

    Example:
            dollars(1234.5), dollars(0.00042)  # ("1,234.50", "0.00042")
    """
    return f"{value:,.2f}" if value == 0 or abs(value) >= 0.01 else f"{value:.2g}"
