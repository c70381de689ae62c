"""Run one notebook without a screen: jupytext's text form, executed by papermill.

The result takes its place only when it is whole; a failure says which cell, which error, and
where the partial notebook lies.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import yaml

from cqa_helpers import params as run_params
from cqa_helpers import paths, provenance

# Above every log level: what a kernel says of its transport is no news to a reader.
QUIET_KERNEL = ["--IPKernelApp.log_level=50"]


class NotebookError(RuntimeError):
    """A notebook stopped; the message says where and why."""


def execute(source: Path, target: Path, parameters: dict[str, Any]) -> Path:
    """Execute a text notebook into ``target``.

    Raises
    ------
    NotebookError
        A cell failed: its number, its first line, the error, and the partial notebook's path; or
        the kernel died.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    notebook = jupytext.read(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.stem}.partial.ipynb")
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / f"{source.stem}.ipynb"
        nbformat.write(notebook, plain)
        try:
            papermill.execute_notebook(
                str(plain),
                str(partial),
                parameters=parameters,
                kernel_name="python3",
                progress_bar=False,
                cwd=str(paths.root()),
                extra_arguments=QUIET_KERNEL,
            )
        except PapermillExecutionError as error:
            raise NotebookError(
                f"{source.name} stopped in cell {error.exec_count} ({_head(error.source)}): "
                f"{error.ename}: {error.evalue}\nThe partial notebook is {partial}"
            ) from None
        except DeadKernelError:
            raise NotebookError(
                f"{source.name}: the kernel died, most often for want of memory.\n"
                f"The partial notebook is {partial}"
            ) from None
    os.replace(partial, target)
    return target


def _head(source: str) -> str:
    lines = [line for line in source.splitlines() if line.strip() and not line.startswith("#|")]
    return lines[0].strip()[:70] if lines else "empty"


def main(argv: list[str] | None = None) -> None:
    """Execute notebooks/<name>.py of a profile into runs/<profile>/notebooks/."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("notebook", help="such as 04-judge")
    parser.add_argument("--profile", default="rehearsal")
    parser.add_argument("--out", type=Path, help="default: runs/<profile>/notebooks/<name>.ipynb")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    args = parser.parse_args(argv)
    folder = paths.root() / "notebooks"
    source = folder / f"{args.notebook.removesuffix('.py')}.py"
    try:
        file = run_params.file_of(args.profile)
        run_params.load(file)
        if not source.is_file():
            known = ", ".join(sorted(p.stem for p in folder.glob("*.py")))
            raise NotebookError(f"No notebook {args.notebook!r}. There are: {known}.")
        run = Path("runs") / args.profile
        target = args.out or paths.at(run) / "notebooks" / f"{source.stem}.ipynb"
        given = {name: yaml.safe_load(value) for name, value in args.p}
        parameters = {
            "params_file": str(file.relative_to(paths.root())), "run_dir": str(run), **given,
        }  # fmt: skip
        name = " ".join([source.stem, *(str(value) for value in given.values())])
        watch = provenance.Stopwatch()
        print(f"{time.strftime('%H:%M:%S')}  {name} …", flush=True)
        execute(source, target, parameters)
        print(f"{time.strftime('%H:%M:%S')}  {name} done in {watch.seconds():.0f} s", flush=True)
    except (NotebookError, run_params.ParamsError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
