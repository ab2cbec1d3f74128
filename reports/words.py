"""Numbers as people read them."""

from __future__ import annotations

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
