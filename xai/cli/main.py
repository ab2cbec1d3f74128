"""The command `xai`: its verbs, and the one place where errors become a line and an exit code."""

from __future__ import annotations

import errno
import logging
import os
import sys
from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException

from xai.cli import (
    attack,
    audit,
    bounds,
    check,
    config,
    diff,
    explain,
    export,
    inspect,
    methods,
    ood,
    report,
    train,
    verify,
)
from xai.cli.terminal import say
from xai.errors import StoppedError, UsageError, XaiError, lacks_memory
from xai.version import __version__

INTERRUPTED, BROKEN = 130, 3

app = typer.Typer(
    name="xai",
    add_completion=False,
    pretty_exceptions_enable=False,
    help="What a trained network looks at, what breaks it, and what is proved about it.",
    epilog="Exit codes: 0 done, 1 violated or tampered, 2 usage, 3 a finding or the program failed, 4 file refused, "
    "5 not decided, 130 interrupted.",
)
app.command("attack")(attack.attack)
app.command("audit")(audit.audit)
app.command("bounds")(bounds.bounds)
app.command("check")(check.check)
app.add_typer(config.config, name="config")
app.command("diff")(diff.diff)
app.command("explain")(explain.explain)
app.command("export")(export.export)
app.command("inspect")(inspect.inspect)
app.command("methods")(methods.methods)
app.command("report")(report.report)
app.command("train")(train.train)
app.command("verify")(verify.verify)
app.add_typer(ood.app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and log everything.")] = False,
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    logging.basicConfig(level=logging.DEBUG if debug else logging.CRITICAL, format="%(name)s: %(message)s")


def run(arguments: list[str]) -> int:
    """Run the command line; return its exit code."""
    try:
        result = app(args=arguments or ["--help"], prog_name="xai", standalone_mode=False)
    except XaiError as error:
        return _told(error, error.exit_code)
    except TyperException as error:
        say(f"error: {error.format_message()}")
        return error.exit_code
    except (KeyboardInterrupt, Abort):
        result = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read has left; say nothing more
        return 0
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            return _told(error, BROKEN)
        say(f"error: the name {str(error.filename)[:60]}... is too long for a file")
        return UsageError.exit_code
    except Exception as error:
        return _told(error, BROKEN)
    if result == INTERRUPTED:  # typer turns a KeyboardInterrupt into this code
        say("interrupted: nothing was written")
    if not arguments:
        return UsageError.exit_code
    return result if isinstance(result, int) else 0


def _told(error: Exception, code: int) -> int:
    """Say in one line what went wrong; the traceback goes to whoever asked for it."""
    logging.getLogger("xai").debug("failed", exc_info=error)
    if isinstance(error, StoppedError):
        say(str(error))
        return code
    if lacks_memory(error):
        say("error: too little memory; free some, or take a smaller network, fewer --jobs or a larger machine")
        return code
    fault = "a fault of the program: run again with xai --debug and report it"
    say(f"error: {error}" if isinstance(error, XaiError) else f"error: {type(error).__name__}: {error}; {fault}")
    return code
