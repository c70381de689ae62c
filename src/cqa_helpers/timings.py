"""How long each step of a run took, and where its report lies."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd


def steps(run_dir: Path) -> pd.DataFrame:
    """Return ``step`` and ``seconds`` of each step as last run, in the order of the notebooks."""
    folder = Path(run_dir) / "timings"
    rows = [
        {
            "step": str(path.relative_to(folder).with_suffix("")),
            "seconds": float(pd.read_csv(path, sep="\t")["s"].iloc[0]),
        }
        for path in sorted(folder.rglob("*.tsv"))
    ]
    return pd.DataFrame(rows, columns=["step", "seconds"])


def announce(run_dir: Path) -> None:
    """Print where the report is and how long each step took when it last ran."""
    table = steps(run_dir)
    width = max(table["step"].str.len(), default=0)
    print("\nSeconds by step, as last run (steps may run side by side):")
    for row in table.itertuples():
        print(f"  {row.step:<{width}}  {row.seconds:7.1f}")
    folder = Path(run_dir) / "report"
    print(f"\nReport:  {folder / 'index.html'}")
    for pdf in sorted(folder.glob("*.pdf")):
        print(f"PDF:     {pdf}")
    print(f"Results: {Path(run_dir) / 'results.json'}")


if __name__ == "__main__":
    announce(Path(sys.argv[1]))
