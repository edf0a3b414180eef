"""Histories cut in two on a day: what was known then, and what is counted after it."""

from collections.abc import Mapping, Sequence

import numpy as np

from enfold.modalities.records import History, spoken


def index_days(history: History, *, window: float, least_visits: int) -> np.ndarray:
    """Days of visits, not before the `least_visits`th, after which `window` days are stated to their end."""
    visits = np.unique(history.days)[least_visits - 1 :]
    return visits[visits + window <= history.until]


def until_day(history: History, day: float) -> History:
    """What was known at the end of a day."""
    return _part(history, history.days <= day, day)


def after_day(history: History, day: float, window: float) -> History:
    """What happened in the `window` days after a day."""
    return _part(history, (history.days > day) & (history.days <= day + window), day + window)


def visit_counts(history: History, groups: Mapping[str, Sequence[str]]) -> np.ndarray:
    """float32 [1 + groups]: visits (days on which anything is stated) in all, and those with a code of each group."""
    days, codes = history.days, np.array([spoken(code) for code in history.codes], object)
    counts = [len(np.unique(days))]
    for group in groups.values():
        own = np.isin(codes, [spoken(code) for code in group])
        counts.append(len(np.unique(days[own])))
    return np.array(counts, np.float32)


def _part(history: History, kept: np.ndarray, until: float) -> History:
    codes = tuple(code for code, own in zip(history.codes, kept, strict=True) if own)
    return History(history.times[kept], codes, history.values[kept], history.about, until)
