"""Headings: what the title of a panel says of its runs, and what is said once above the figure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import pandas as pd
from matplotlib.axes import Axes

from figures import style
from figures.selection import each

FULL = "full scale"


def short_device(device: str) -> str:
    """Return a device's name without trade marks and clock rates.

    Example:
        >>> short_device("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz")
        'Intel Xeon Platinum 8481C'
    """
    name = re.sub(
        r"\((?:R|TM|r|tm)\)| CPU| @ [\d.]+ ?[GM]Hz|\d+-Core Processor|Processor", "", device
    )
    return re.sub(r"\s+", " ", name).strip()


def notes(rows: pd.DataFrame) -> dict[str, str]:
    """Return what a panel's title says of its runs: n, how many diverged, what is not run, device, scale.

    Args:
        rows: Rows of the panel.

    Returns:
        Words by what they are about, for `titles`.
    """
    found: dict[str, str] = {}
    ours = rows[rows["kind"].isin(["mean", "repetition"])]
    counts = ours[ours["n"] > 0].drop_duplicates("series")[["series", "n", "diverged"]]
    if len(counts):
        alike = counts["n"].nunique() == 1
        apiece = " each" if len(counts) > 1 else ""
        found["n"] = (
            f"n={counts['n'].iloc[0]}{apiece}"
            if alike
            else ", ".join(f"n={row.n} of {row.series}" for row in each(counts))
        )
        lost = counts[counts["diverged"] > 0]
        same = len(lost) == len(counts) and counts["diverged"].nunique() == 1
        found["diverged"] = (
            f"{counts['diverged'].iloc[0]}{apiece} diverged"
            if same
            else ", ".join(f"{row.series}: {row.diverged} diverged" for row in each(lost))
            or "0 diverged"
        )
    if len(ours):  # else the panel itself says so
        absent = [name for name in rows["series"][rows["kind"] == "not run"].unique() if name]
        found |= {"not run": f"{' and '.join(absent)} not run"} if absent else {}
    device = next((d for d in rows["device"] if d), "")
    found |= {"device": f"timed on {short_device(device)}"} if device else {}
    return found | scale_note(rows["scale"])


def span(values: pd.Series) -> str:
    """Return the smallest and the largest of some counts in words, once where they are one.

    Example:
        >>> span(pd.Series([30, 10])), span(pd.Series([1_000]))
        ('10 to 30', '1,000')
    """
    few, most = values.min(), values.max()
    return f"{most:,}" if few == most else f"{few:,} to {most:,}"


def scale_note(scales: Iterable[str]) -> dict[str, str]:
    """Return the note on scales for `titles`; none where none is known."""
    known = sorted(set(scales) - {""})
    said = " and ".join(known) + " scale" + (", no result" if "smoke" in known else "")
    return {"scale": said} if known else {}


def titles(panels: Iterable[tuple[Axes, str, Mapping[str, str]]]) -> None:
    """Write the titles of all panels: a name, and what is not said once for most of them above the figure.

    Args:
        panels: Axes, name, and notes: words by what they are about. A panel without notes has nothing of ours.
    """
    panels = list(panels)
    if not panels:
        return
    told = [notes for _, _, notes in panels if notes]
    common: dict[str, str] = {}
    for about in dict.fromkeys(about for notes in told for about in notes):
        said = [notes[about] for notes in told if about in notes]
        most = max(dict.fromkeys(said), key=said.count)
        # where something was timed is true of a figure in which not every panel shows times
        everywhere = len(said) == len(told) or about == "device"
        if everywhere and len(told) > 1 and said.count(most) > len(said) / 2:
            common[about] = most
    for axes, name, notes in panels:
        own = [text for about, text in notes.items() if common.get(about) != text]
        if "scale" not in common:  # full is what goes without saying
            own = [text for text in own if text != FULL]
        axes.set_title("\n".join([name, ", ".join(own)] if own else [name]))
    shared = [text for text in common.values() if text != FULL]
    differ = any(
        notes.get(about, text) != text
        for notes in told
        for about, text in common.items()
        if text in shared
    )
    if shared:
        head = "Unless a panel says otherwise" if differ else "All panels"
        figure = panels[0][0].figure
        figure.suptitle(
            f"{head}: {', '.join(shared)}", size=style.STYLE["axes.titlesize"], color=style.GREY
        )
