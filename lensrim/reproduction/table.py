"""The table of a paper, as text and as files."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from .paper import Line, Paper, Result, Setting

COLUMNS = (
    "quantity",
    "paper",
    "as published",
    "ours",
    "others, same calls",
    "who",
    "others, at their end",
    "who at the end",
)


def cells(line: Line) -> tuple[str, ...]:
    """Returns a line of the table as text."""
    early, rival = ("" if n is None else str(n) for n in (line.early, line.rival))
    return (
        line.quantity,
        line.paper,
        str(line.published),
        str(line.ours),
        early,
        line.early_name,
        rival,
        line.rival_name,
    )


def format_table(lines: Sequence[Line]) -> str:
    """Returns the table as text: the paper's own numbers, which are long, below each line."""
    rows = [(c[0], *c[2:]) for c in (COLUMNS, *map(cells, lines))]
    filled = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
    shown = [tuple(row[i] for i in filled) for row in rows]
    widths = [max(len(row[i]) for row in shown) for i in range(len(shown[0]))]
    text = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in shown]
    out = [text[0]]
    for line, row in zip(lines, text[1:], strict=True):
        out += [row, f"    paper: {line.paper}"]
    return "\n".join(out)


def in_words(paper: Paper, result: Result, setting: Setting) -> str:
    """Returns all that came of a paper as text."""
    quick = " (quick: trainings of two steps, to see whether all works)" if setting.quick else ""
    parts = [
        f"{paper.title}, arXiv:{paper.arxiv}, scale {setting.scale}, seed {setting.seed}{quick}",
        format_table(result.lines),
        "What differs from the paper:",
        *(f"- {text}" for text in result.differs),
    ]
    if result.minutes:
        spent = ", ".join(f"{name} {t:.1f}" for name, t in result.minutes.items())
        parts.append(f"Trainings [min of this machine's clock]: {spent}")
    return "\n".join(parts)


def write(paper: Paper, result: Result, setting: Setting) -> list[Path]:
    """Writes the table (text and CSV), further tables (CSV) and the figures (PNG)."""
    folder = setting.folder
    folder.mkdir(parents=True, exist_ok=True)
    text, table = folder / "table.txt", folder / "table.csv"
    text.write_text(in_words(paper, result, setting) + "\n", encoding="utf-8")
    write_csv(table, [dict(zip(COLUMNS, cells(line), strict=True)) for line in result.lines])
    written = [text, table]
    for name, rows in result.tables.items():
        written.append(folder / f"{name}.csv")
        write_csv(written[-1], rows)
    for name, figure in result.figures.items():
        written.append(folder / f"{name}.png")
        figure.savefig(written[-1], dpi=110)
    return written


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Writes rows, of columns by name."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            shown = {n: f"{v:.6g}" if isinstance(v, float) else v for n, v in row.items()}
            writer.writerow(shown)
