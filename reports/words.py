"""Numbers as people read them."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def amount(value: int | None) -> str:
    """Write a whole number in full with thin spaces, a dash for what is not known."""
    return "–" if value is None else f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def short(value: int) -> str:
    """Write a whole number with three digits and a unit: 11.7 M."""
    for size, unit in _UNITS:
        if value >= 0.9995 * size:
            return f"{value / size:.3g}\N{NO-BREAK SPACE}{unit}"
    return str(value)


def memory(value: int | None) -> str:
    """Write bytes with a binary unit: 44.6 MiB."""
    if value is None:
        return "–"
    size, unit = float(value), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1023.95:
            break
        size, unit = size / 1024, larger
    return f"{size:.4g}\N{NO-BREAK SPACE}{unit}"


def number(value: object) -> str:
    """Write a number with four digits, what could not be measured as a dash, anything else as it is."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def at_most(value: float) -> str:
    """Write a number with four digits, the last one rounded up: what lies below the number lies below that."""
    return _towards(value, ROUND_CEILING)


def at_least(value: float) -> str:
    """Write a number with four digits, the last one rounded down: what lies above the number lies above that."""
    return _towards(value, ROUND_FLOOR)


def _towards(value: float, way: str) -> str:
    rounded = Context(prec=4, rounding=way).create_decimal(Decimal(value))
    return f"{float(rounded):.4g}"


def share(value: float | None) -> str:
    """Write a share as a percentage that never rounds to certainty."""
    if value is None:
        return "–"
    if 0.9995 <= value < 1:
        return "> 99.9\u00a0%"
    return "< 0.1\u00a0%" if 0 < value < 0.0005 else f"{100 * value:.1f}\u00a0%"


def duration(seconds: float) -> str:
    """Write a time: seconds with two decimals, below a tenth in milliseconds."""
    return f"{1000 * seconds:.3g}\N{NO-BREAK SPACE}ms" if 0 < seconds < 0.1 else f"{seconds:.2f}\N{NO-BREAK SPACE}s"


def points(value: float) -> str:
    """Write the difference of two shares in percentage points."""
    return "< 0.1 points" if 0 < value < 0.0005 else f"{100 * value:.1f} points"
