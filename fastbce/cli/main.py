"""The command line: one row of `COMMANDS` for each subcommand.

Only the chosen subcommand's imports are paid for, so ``fastbce --help`` needs neither Numba nor
any extra.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import fastbce

from .arguments import (
    count,
    fit_arguments,
    predict_arguments,
    rounds,
    with_kind_of_robust,
)
from .notes import note

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

EXIT_CODES = """exit codes:
  0    done
  1    a check of the command itself failed: fastbce check, fastbce demo
  2    it cannot be done, and one line says why: bad input, a missing extra
  130  Ctrl-C
  141  the reader of the output has gone, as with | head"""

# Python's ways to treat characters that an encoding lacks which end in an error.
STRICT = ("strict", "surrogateescape")


FOR_FORMULAS = ("formulaic", "pandas")


class CommandError(Exception):
    """What the user asked for cannot be done; the text is the one line that says why."""


@dataclass(frozen=True)
class Command:
    """One subcommand: its texts, its arguments, what it runs, and the extra it needs."""

    name: str
    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    example: str
    extra: str | None = None


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the subcommand has no arguments of its own."""


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--plot-dir",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="where to write the PNG of the fitted curve (default: the current directory)",
    )
    _json_argument(parser)


def _run_demo(arguments: argparse.Namespace) -> int:
    if not arguments.plot_dir.is_dir():
        raise CommandError(f"--plot-dir: {arguments.plot_dir} is not a directory")

    from fastbce._writing import check_writable

    check_writable("--plot-dir", arguments.plot_dir / "plot.png")
    if arguments.json is not None:
        check_writable("--json", arguments.json)
    from fastbce.demo import run_demo

    agreed = run_demo(arguments.plot_dir, json_file=arguments.json)
    return EXIT_OK if agreed else EXIT_FAILED


def _json_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write the result there; - is the standard output, and the table goes to the other",
    )


def _bench_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="two sizes and fewer rounds")
    parser.add_argument("--peers", action="store_true", help="with SciPy, PyTorch, JAX and others")
    parser.add_argument("--threads", type=count, metavar="N", help="threads (default: all)")
    parser.add_argument("--sizes", type=count, nargs="+", metavar="N", help="numbers of elements")
    parser.add_argument("--rounds", type=rounds, metavar="N", help="measurements of each row")
    _json_argument(parser)
    parser.add_argument("--plot", type=Path, metavar="DIR", help="write plots there")


def _run_bench(arguments: argparse.Namespace) -> int:
    from fastbce.bench import run_bench

    run_bench(
        sizes=arguments.sizes,
        quick=arguments.quick,
        peers=arguments.peers,
        threads=arguments.threads,
        json_file=arguments.json,
        plot_dir=arguments.plot,
        rounds=arguments.rounds,
    )
    return EXIT_OK


def _run_fit(arguments: argparse.Namespace) -> int:
    from fastbce.cli.fit import run_fit
    from fastbce.cli.tables import TableError

    try:
        run_fit(arguments)
    except TableError as error:
        raise CommandError(str(error)) from error
    return EXIT_OK


def _run_predict(arguments: argparse.Namespace) -> int:
    from fastbce.cli.predict import run_predict
    from fastbce.cli.tables import TableError

    try:
        run_predict(arguments)
    except TableError as error:
        raise CommandError(str(error)) from error
    return EXIT_OK


def _run_check(arguments: argparse.Namespace) -> int:
    from fastbce.cli.check import run_check

    return EXIT_OK if run_check(arguments) else EXIT_FAILED


def _warmup_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "functions",
        nargs="*",
        metavar="FUNCTION",
        help="functions that are prepared only by name, such as focal_loss and softplus",
    )
    parser.add_argument("--linear", action="store_true", help="with those of linear models")


def _run_warmup(arguments: argparse.Namespace) -> int:
    from time import perf_counter

    from fastbce._backends import active_backend

    if active_backend() != "numba":
        raise CommandError("the backend is NumPy, which has no kernels; see fastbce info")
    start = perf_counter()
    try:
        fastbce.warmup(*arguments.functions, linear=arguments.linear)
    except ValueError as error:
        raise CommandError(str(error)) from error
    print(f"kernels ready after {perf_counter() - start:.1f} s")
    return EXIT_OK


def _run_info(arguments: argparse.Namespace) -> int:
    from fastbce._machine import machine_line

    print(f"fastbce {fastbce.__version__}: {machine_line()}")
    return EXIT_OK


COMMANDS = (
    Command(
        "demo",
        "train on two real data sets with plain NumPy and with fastbce, and compare",
        _demo_arguments,
        _run_demo,
        "fastbce demo --plot-dir plots",
        extra="demo",
    ),
    Command(
        "bench",
        "time every function against NumPy, other libraries and the memory limit",
        _bench_arguments,
        _run_bench,
        "fastbce bench --quick --json times.json",
        extra="bench",
    ),
    Command(
        "fit",
        "fit a logistic regression to a file, and say which variables matter",
        fit_arguments,
        _run_fit,
        "fastbce fit patients.csv --target died --reference ward=general --out model.json",
        extra="fit",
    ),
    Command(
        "predict",
        "write the predictions of a fitted model for a file",
        predict_arguments,
        _run_predict,
        "fastbce predict model.json new.csv --id patient --interval 0.95 --out predictions.csv",
        extra="fit",
    ),
    Command(
        "check",
        "measure every function's errors on this machine, and compare with other libraries",
        _json_argument,
        _run_check,
        "fastbce check --json check.json",
    ),
    Command(
        "warmup",
        "compile the kernels in advance, such as while a container is built",
        _warmup_arguments,
        _run_warmup,
        "fastbce warmup focal_loss --linear",
    ),
    Command(
        "info",
        "print the machine, the versions and the state of the kernels",
        _no_arguments,
        _run_info,
        "fastbce info",
    ),
)


def _check_settings() -> None:
    """Turn a bad environment variable into a line of its own, before any work is done."""
    from fastbce._backends import active_backend
    from fastbce._threads import get_num_threads

    try:
        active_backend()
        get_num_threads()
    except ValueError as error:
        raise CommandError(str(error)) from error


def _check_output() -> None:
    """See to it that whatever is printed can be."""
    if sys.stdout is None:  # what Python makes of a closed one
        raise CommandError("the standard output is closed; send it to a file or to /dev/null")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in STRICT:
            # A name that a terminal cannot show is no reason to lose a fit.
            stream.reconfigure(errors="backslashreplace")


def _build_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="fastbce",
        description="Fused sigmoid and binary cross-entropy kernels for NumPy on the CPU.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fastbce {fastbce.__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        subparser = subparsers.add_parser(
            command.name,
            help=command.summary,
            description=f"{command.summary}.",
            epilog=f"example:\n  {command.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(subparser)
        subparser.set_defaults(command=command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name; ``sys.argv[1:]`` by default.

    Returns
    -------
    int
        0 on success, 1 where a check of the command itself failed, 2 for bad input or a missing
        extra, 130 after Ctrl-C, 141 where the reader of the output has gone.
    """
    argv = sys.argv[1:] if argv is None else argv
    if list(argv[:1]) == ["fit"]:
        argv = with_kind_of_robust(argv)
    arguments = _build_parser().parse_args(argv)
    command: Command = arguments.command
    try:
        _check_output()
        _check_settings()
        status = command.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Who read the output has seen enough. Without this, closing it would complain once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except (CommandError, OSError) as error:
        message = str(error)
    except ModuleNotFoundError as error:
        missing = (error.name or "a package").partition(".")[0]
        # A module of our own that is missing is a broken install, not a missing extra.
        if command.extra is None or missing == "fastbce":
            raise
        extra = "formula" if missing in FOR_FORMULAS else command.extra
        message = f"{missing} is not installed: pip install 'fastbce[{extra}]'"
    except MemoryError as error:
        message = f"there is not enough memory: {error}".rstrip(": ")
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    else:
        return status
    note(f"fastbce {command.name}: {message}")
    return EXIT_BAD_INPUT
