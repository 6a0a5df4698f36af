"""The server's answers beside the truth, as tables and as a verdict."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from .questions import QUESTIONS, Question, Rows, differences
from .traffic import Truth


def compare(console: Console, url: str, project: dict[str, str], truth: Truth, stats: dict[str, Any]) -> int:
    """Ask every question and print the answers beside ``truth``. 0 when they are equal, else 1.

    ``stats``: the handler's, which tell where an event was lost.
    """
    found: list[str] = []
    for question in QUESTIONS:
        answer, right = question.ask(url, project), question.truth(truth)
        console.print()
        console.print(_table(question, answer, right))
        found += differences(question, answer, right)
    if found:
        console.print("\n[bold red]The server does not have what happened:[/]")
        for line in [*found, f"the shop's handler: {stats}"]:
            console.print(f"  {line}", markup=False, soft_wrap=True)
        return 1
    requests, purchases = sum(truth.statuses.values()), sum(truth.orders.values())
    verdict = f"The server has all {requests:,} requests and {purchases:,} purchases, each once, despite the crash."
    console.print(f"\n[bold green]Equal.[/] {verdict}", soft_wrap=True)
    return 0


def _table(question: Question, answer: Rows, truth: Rows) -> Table:
    table = Table(title=question.title, title_justify="left", title_style="bold")
    table.add_column(question.group)
    for column in question.columns:
        table.add_column(f"{column}\nserver", justify="right")
        table.add_column("\ntruth", justify="right", style="dim")
    ordered = sorted(answer.keys() | truth.keys(), key=lambda group: _last(truth, group), reverse=True)
    for group in ordered[: question.show]:
        cells = [group]
        for at, form in enumerate(question.columns.values()):
            cells += [_shown(answer.get(group), at, form), _shown(truth.get(group), at, form)]
        table.add_row(*cells)
    return table


def _last(rows: Rows, group: str) -> float:
    return rows[group][-1] if group in rows else 0.0


def _shown(figures: tuple[float, ...] | None, at: int, form: str) -> str:
    return "-" if figures is None or figures[at] is None else format(figures[at], form)
