"""Times as people say them."""

from __future__ import annotations


def duration(days: float) -> str:
    """Days as people say them, from seconds to years."""
    if days < 1 / 1440:
        return f"{days * 86400:.2g} seconds"
    if days < 2 / 24:
        return f"{days * 1440:.1f} minutes"
    if days < 2:
        return f"{days * 24:.1f} hours"
    if days < 100:
        return f"{days:,.1f} days"
    if days < 1000:
        return f"{days:,.0f} days"
    years = days / 365.25
    return f"{years:,.1f} years" if years < 1e6 else f"{years:.2g} years"


def seconds(value: float) -> str:
    """Seconds with the unit that suits them."""
    if value < 1e-3:
        return f"{value * 1e6:.0f} µs"
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"


def span(value: float) -> str:
    """A span of time in the unit that suits it."""
    for unit, name in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if value >= unit:
            return f"{value / unit:,.3g} {name}"
    return f"{value:.2g} s"
