"""The table of a paper, as text and as files."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from .paper import Line, Paper, Result, Setting

COLUMNS = ("quantity", "paper", "as published", "ours", "best of the others", "who")


def cells(line: Line) -> tuple[str, ...]:
    """Returns a line of the table as text."""
    rival = "" if line.rival is None else str(line.rival)
    return (
        line.quantity,
        line.paper,
        str(line.published),
        str(line.ours),
        rival,
        line.rival_name,
    )


def format_table(lines: Sequence[Line]) -> str:
    """Returns the table as text: the paper's own numbers, which are long, below each line."""
    shown = [(c[0], *c[2:]) for c in (COLUMNS, *map(cells, lines))]
    widths = [max(len(row[i]) for row in shown) for i in range(len(shown[0]))]
    text = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in shown]
    out = [text[0]]
    for line, row in zip(lines, text[1:], strict=True):
        out += [row, f"    paper: {line.paper}"]
    return "\n".join(out)


def in_words(paper: Paper, result: Result, setting: Setting) -> str:
    """Returns all that came of a paper as text."""
    parts = [
        f"{paper.title}, arXiv:{paper.arxiv}, scale {setting.scale}, seed {setting.seed}",
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
