"""Verdicts on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from repro import claims
from repro.claims import Judgement
from repro.report import verdicts

COLOURS = {"reproduced": "green", "not reproduced": "red", "partly": "yellow"}


def show_verdicts(judgements: Sequence[Judgement], console: Console) -> None:
    """Print every claim with what was measured and its verdict, and how many have which."""
    grid = Grid(title="Claims and what became of them", show_lines=True)
    for header in ("No.", "Claim", "Measured [interval]", "Verdict"):
        grid.add_column(header, justify="right" if header == "No." else "left", overflow="fold")
    for judgement in judgements:
        measured = "\n".join(claims.describe(finding) for finding in judgement.findings)
        colour = COLOURS.get(judgement.verdict, "dim")
        scale = ", ".join(scale for scale in judgement.scales if scale != "full")
        verdict = f"[{colour}]{judgement.verdict}[/]" + (f"\nat {scale} scale" if scale else "")
        grid.add_row(
            f"{judgement.study}\n{judgement.claim.number}",
            escape(f"{judgement.claim.text} ({judgement.claim.where})"),
            escape(measured or judgement.reason),
            verdict + (f"\n{escape(judgement.reason)}" if measured and judgement.reason else ""),
        )
    console.print(grid)
    show_counts(judgements, console)


def show_counts(judgements: Sequence[Judgement], console: Console) -> None:
    """Print how many claims have which verdict."""
    counts = verdicts.count(judgements)
    console.print("  ".join(f"{verdict}: {number}" for verdict, number in counts.items()))
