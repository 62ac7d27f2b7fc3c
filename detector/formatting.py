"""Numbers, times and sizes as people read them. Pure functions, the same on pages, charts and the command line."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def percent(fraction: float, digits: int = 1) -> str:
    """Write a fraction as a percentage: ``0.948`` -> ``"94.8 %"``.

    What is not certain is never rounded to certainty: 0.9999 is ``"99.9 %"`` and 0.0001 is ``"0.1 %"``.

    Parameters
    ----------
    fraction : float
        Between 0 and 1.
    digits : int
        After the decimal point.
    """
    return f"{percent_number(fraction, digits):.{digits}f} %"


def percent_number(fraction: float, digits: int = 1) -> float:
    """The number of `percent`, for widgets that write the sign themselves: ``0.948`` -> ``94.8``."""
    step = 10.0**-digits
    value = round(100 * fraction, digits)
    if 0 < fraction < 1:
        value = min(max(value, step), 100 - step)
    return value


def interval(bounds: tuple[float, float], digits: int = 1) -> str:
    """Write an interval of fractions: ``(0.932, 0.960)`` -> ``"93.2 to 96.0 %"``."""
    low, high = bounds
    return f"{percent_number(low, digits):.{digits}f} to {percent_number(high, digits):.{digits}f} %"


#: On fewer images than this no rate is quoted: one image more or less would be several points.
FEWEST_FOR_RATE = 30


def rate_of(fraction: float, n: int, digits: int = 1) -> str:
    """Write what was measured on ``n`` images: ``"94.8 %"``, or ``"7 of 9"`` where ``n`` is below `FEWEST_FOR_RATE`.

    The one way to quote an accuracy or another share of images, so that no page, figure or command forgets it.
    """
    return percent(fraction, digits) if n >= FEWEST_FOR_RATE else share(round(fraction * n), n)


def rate_of_images(fraction: float, n: int, one: str | None = None) -> str:
    """`rate_of` with what it was measured on: ``"94.8 % of 2,000 images"``, ``"7 of 9 images"``."""
    if n >= FEWEST_FOR_RATE:
        return f"{percent(fraction)} of {count(n, one)}"
    return f"{share(round(fraction * n), n)}{f' {one}' if n == 1 and one else f' {one}s' if one else ''}"


def share_and_rate(part: int, whole: int) -> str:
    """``"948 of 1,000 (94.8 %)"``, or the share alone where ``whole`` is below `FEWEST_FOR_RATE`."""
    return f"{share(part, whole)}{f' ({percent(part / whole)})' if whole >= FEWEST_FOR_RATE else ''}"


def interval_of(bounds: tuple[float, float], n: int, before: str = "", after: str = "") -> str:
    """`interval` between two pieces of text; nothing at all where no rate is quoted on ``n`` images."""
    return f"{before}{interval(bounds)}{after}" if n >= FEWEST_FOR_RATE else ""


def limit(fraction: float) -> str:
    """Write a share that somebody chose, with the digits that it has: ``"2 %"``, ``"0.5 %"``."""
    return f"{100 * fraction:.4g} %"


def count(number: int, one: str | None = None, many: str | None = None) -> str:
    """Write a whole number with thousands separators, and its noun if given.

    ``count(2000)`` -> ``"2,000"``; ``count(1, "sample")`` -> ``"1 sample"``; ``count(2, "copy", "copies")`` ->
    ``"2 copies"``.
    """
    if one is None:
        return f"{number:,}"
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def all_labels(number: int) -> str:
    """ "both labels" of two, "all labels" of more."""
    return "both labels" if number == 2 else "all labels"


def share(part: int, whole: int) -> str:
    """Write a part of a whole: ``"948 of 1,000"``."""
    return f"{part:,} of {whole:,}"


def listed(words: Iterable[str]) -> str:
    """ "real", "real and synthetic" or "real, glide and biggan"."""
    *before, last = [*words] or [""]
    return f"{', '.join(before)} and {last}" if before else last


def decimal(value: float, digits: int = 3) -> str:
    """Write a score that is no percentage (log loss, ROC AUC): ``"0.142"``."""
    return f"{value:.{digits}f}"


def duration(seconds: float) -> str:
    """Write how long something took or takes: ``"0.21 s"``, ``"9 s"``, ``"2 min"``, ``"1 h 5 min"``."""
    seconds = max(0.0, seconds)
    if seconds < 0.995:
        return f"{seconds:.2f} s"
    if seconds < 9.95:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    if seconds < 59.5:
        return f"{round(seconds)} s"
    minutes = max(1, round(seconds / MINUTE))
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def time_left(seconds: float | None) -> str:
    """Write an estimate: ``"9 s left"``, ``"2 min left"``; empty for ``None`` (not known yet).

    Whole seconds only: an estimate with a fraction flickers and promises too much.
    """
    if seconds is None:
        return ""
    return f"{duration(max(1.0, float(round(seconds))))} left"


def ago(moment: datetime, now: datetime | None = None) -> str:
    """Write how long ago something was: ``"just now"``, ``"3 minutes ago"``, ``"yesterday"``, ``"12 Mar 2026"``.

    Parameters
    ----------
    moment, now : datetime
        Without a time zone they are taken as UTC, as the database stores them. ``now`` is the clock's if not given.
    """
    moment = _in_utc(moment)
    now = _in_utc(now) if now is not None else datetime.now(UTC)
    seconds = (now - moment).total_seconds()
    if seconds < 45:
        return "just now"
    if seconds < 59.5 * MINUTE:
        return f"{count(max(1, round(seconds / MINUTE)), 'minute')} ago"
    if seconds < DAY:
        return f"{count(max(1, round(seconds / HOUR)), 'hour')} ago"
    days = round(seconds / DAY)
    if days == 1:
        return "yesterday"
    if days < 14:
        return f"{days} days ago"
    return day(moment)


def day(moment: datetime) -> str:
    """Write a day, in UTC: ``"12 Mar 2026"``."""
    moment = _in_utc(moment)
    return f"{moment.day} {moment:%b %Y}"


def moment(at: datetime) -> str:
    """Write a day and the time of it, in UTC: ``"12 Mar 2026, 14:05 UTC"``."""
    at = _in_utc(at)
    return f"{day(at)}, {at:%H:%M} UTC"


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def file_size(byte_count: int) -> str:
    """Write a number of bytes: ``"512 bytes"``, ``"18 MB"``, ``"0.6 GB"`` (powers of 1,000, as file managers do)."""
    if byte_count < 1_000:
        return count(byte_count, "byte")
    if byte_count < 1_000_000:
        return f"{max(1, round(byte_count / 1_000))} kB"
    if byte_count < 500_000_000:
        megabytes = byte_count / 1_000_000
        return f"{megabytes:.1f} MB" if megabytes < 9.95 else f"{round(megabytes)} MB"
    return f"{byte_count / 1_000_000_000:.1f} GB"


def part_of_size(done: int, total: int) -> str:
    """Write how much of a number of bytes is there: ``"212 of 605 MB"``, ``"1.20 of 2.69 GB"``; without a total a size.

    Unlike in `file_size`, half a gigabyte is 500 MB: one digit after the point would stand still for a minute.
    """
    if total <= 0:
        return file_size(done)
    if total < 1_000_000:
        return f"{done // 1_000} of {max(1, round(total / 1_000))} kB"
    if total < 1_000_000_000:
        digits = 1 if total < 9_950_000 else 0
        return f"{done / 1_000_000:.{digits}f} of {total / 1_000_000:.{digits}f} MB"
    return f"{done / 1_000_000_000:.2f} of {total / 1_000_000_000:.2f} GB"


def rate(per_second: float, noun: str = "images") -> str:
    """Write a speed: ``"65 images/s"``, below ten with one digit more."""
    return f"{per_second:.1f} {noun}/s" if per_second < 9.95 else f"{per_second:,.0f} {noun}/s"


#: Excel reads a CSV file without it in the letters of the machine's country, and makes nonsense of every name that is
#: not ASCII. pandas, R, LibreOffice and databases skip it; Python's csv wants the encoding "utf-8-sig".
BYTE_ORDER_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"


def safe_cell(value: object) -> object:
    """A value for a CSV file; text that a spreadsheet would run as a formula gets an apostrophe before it (OWASP)."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value
