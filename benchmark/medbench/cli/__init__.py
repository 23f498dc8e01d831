"""The command line: one module a command, each imported only when called."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable

import click

from medbench import __version__
from medbench.cli.lazy import LazyGroup
from medbench.errors import MedbenchError
from medbench.plain import plain
from medbench.plugins.markers import Command

_OWN = (
    Command("run", "medbench.cli.run:run", "Run a protocol, or a part of it, and make the board."),
    Command("status", "medbench.cli.status:status", "Say what is done, failed and to do."),
    Command("stop", "medbench.cli.stop:stop", "Cancel the workers of a Slurm cluster."),
    Command("node", "medbench.cli.node:node", "Check a node of a cluster, copy datasets to it."),
    Command("log", "medbench.cli.log:log", "Print what a run printed, and why it failed."),
    Command("results", "medbench.cli.results:results", "Print one row a run, also as CSV or JSON."),
    Command("bundle", "medbench.cli.bundle:bundle", "Pack records into one checked file."),
    Command("cite", "medbench.cli.cite:cite", "Print references of all that was used, as BibTeX."),
    Command("confirm", "medbench.cli.confirm:confirm", "Make a protocol with unforeseeable seeds."),
    Command("submit", "medbench.cli.submit:submit", "Check results for a public board."),
    Command("verify", "medbench.cli.verify:verify", "Recompute every metric, check every hash."),
    Command("list", "medbench.cli.list:list_", "List plugins and protocols, also broken ones."),
    Command("show", "medbench.cli.show:show", "Describe one plugin or protocol in full."),
    Command("data", "medbench.cli.data:data", "List datasets and check their files."),
    Command("labels", "medbench.cli.labels:labels", "Export the exact noisy labels of runs."),
    Command("suspects", "medbench.cli.suspects:suspects", "Find labels that are probably wrong."),
    Command("relabel", "medbench.cli.relabel:relabel", "Correct labels, as a new version."),
    Command("new", "medbench.cli.new:new", "Write a new plugin package that works."),
    Command("check", "medbench.cli.check:check", "Check plugins against their kind's contract."),
    Command("completion", "medbench.cli.completion:completion", "Let a shell complete commands."),
    Command("doctor", "medbench.cli.doctor:doctor", "Check this installation and machine."),
)


def _others() -> Iterable[Command]:
    from medbench.plugins.registry import discover

    return discover().commands.values()


@click.group(
    cls=LazyGroup,
    own=_OWN,
    find=_others,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Begin with: medbench run --all",
)
@click.version_option(__version__, prog_name="medbench")
@click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks of errors.")
def cli() -> None:
    """Find out which self-supervised pretraining, with which method of learning with noisy
    labels, holds up best on medical images, and whether the difference is real."""  # noqa: D205, D209


#: What click 8.2 and newer raise where a command is missing; before, it shows the help itself.
_NO_ARGUMENTS = getattr(click.exceptions, "NoArgsIsHelpError", ())


def main() -> None:
    """Run the command line; an error a user can fix is one line on stderr and status 2."""
    try:
        status = cli.main(prog_name="medbench", standalone_mode=False)
    except click.exceptions.Abort as stop:
        fail(str(stop) or "interrupted", getattr(stop, "status", 130))
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "medbench"
        if isinstance(error, _NO_ARGUMENTS):
            error.show()  # the help
            sys.exit(error.exit_code)
        fail(f"{error.format_message().rstrip('.')}; see `{command} --help`", error.exit_code)
    except click.ClickException as error:
        fail(error.format_message(), error.exit_code)
    except BrokenPipeError:
        # the reader of our output has gone, as `head` does
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - an error of ours or of a plugin
        if "--debug" in sys.argv:
            traceback.print_exc()
        if isinstance(error, MedbenchError):
            fail(str(error))
        fail(f"{type(error).__name__}: {error}; `medbench --debug` before the command shows where")
    sys.exit(status if isinstance(status, int) else 0)


def fail(message: str, status: int = 2) -> None:
    """Print one line on stderr and exit."""
    click.echo(f"medbench: {plain(message, 2000)}", err=True)
    sys.exit(status)
