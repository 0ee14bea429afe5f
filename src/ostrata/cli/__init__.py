"""The command line: the only floor that prints, exits, and looks at the clock and the environment.

Exit codes: 0 done; 1 an error the user can act on; 2 wrong usage; 3 a bug in ostrata; 4 differences found or a limit
exceeded; 130 Ctrl-C; 143 SIGTERM.
"""

from __future__ import annotations

import gc
import keyword
import os
import signal
import sys
from importlib import import_module

import click

from ostrata.errors import OstrataError, from_os_error

COMMANDS = {
    "init": "Make an empty OSTree repository.",
    "commit": "Commit a directory to an OSTree repository.",
    "ls": "List what is in an OSTree commit.",
    "plan": "Plan which files share a layer.",
    "explain": "Why is a file in its layer?",
    "build": "Turn a directory, image, tar or commit into a planned image.",
    "lint": "What stands between a tree and an image of it?",
    "encapsulate": "Turn an OSTree commit into an OCI image.",
    "import": "Turn an image back into an OSTree commit.",
    "tar": "A commit as one tar, and back.",
    "extract": "The tree of any image, as files.",
    "inspect": "Show the layers of an image.",
    "verify": "Check every byte of an encapsulated image.",
    "compare": "What does an update from one image to another download?",
    "simulate": "Replay a history: what would updates have cost?",
    "learn": "Learn a history from published releases.",
    "changelog": "List packages added, removed and updated.",
    "container": "The command line of ostree-ext-cli's `container`.",
}
"""Name -> one line; the modules are imported only when their command runs, which keeps --help fast."""

EPILOG = """\b
Examples:
  ostrata commit --repo repo --branch os/stable rootfs/
  ostrata encapsulate --repo repo os/stable oci:image:latest --contentmeta meta.json
  ostrata inspect oci:image:latest
  ostrata verify oci:image:latest --repo repo os/stable

\b
Shell completion (bash; also zsh and fish):
  eval "$(_OSTRATA_COMPLETE=bash_source ostrata)"
"""


class LazyGroup(click.Group):
    """A group whose commands are modules of this package, imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        command: click.Command = import_module(f"ostrata.cli.{module}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            known = ", ".join(COMMANDS)
            raise click.UsageError(f"{error.message} Commands: {known}.", ctx) from None


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        click.echo(f"ostrata {version('ostrata')}")
        ctx.exit()


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, callback=_version, expose_value=False, is_eager=True, help="Show the version.")
def command() -> None:
    """OSTree commits as OCI images whose layers are planned: files that change together share a layer."""


def main() -> None:
    """Run the command line of this process and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; the result is the exit code. Messages go to stderr."""
    signal.signal(signal.SIGTERM, _terminate)
    # A tree is hundreds of thousands of small values without cycles: looking for garbage in them costs as much as
    # making them. Workers inherit this.
    gc.disable()
    try:
        result = command.main(arguments, prog_name="ostrata", standalone_mode=False)
        if sys.stdout is not None:  # None: it was closed when we were started
            sys.stdout.flush()
    except click.UsageError as error:
        error.show()
        return 2
    except click.exceptions.Exit as error:
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has enough; keep Python from flushing into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OstrataError as error:
        return _fail(error)
    except OSError as error:
        return _fail(from_os_error(error))
    except (KeyboardInterrupt, click.Abort):
        click.echo("ostrata: interrupted", err=True)
        return 130
    except Exception:
        import traceback

        traceback.print_exc()
        click.echo("ostrata: this is a bug in ostrata; please report it with the lines above", err=True)
        return 3
    return result if isinstance(result, int) else 0


def _fail(error: OstrataError) -> int:
    first, *hint = str(error).split("\n", 1)
    click.echo(f"ostrata: error: {first}", err=True)
    for line in hint:
        click.echo(f"  {line}", err=True)
    return 1


def _terminate(signum: int, _frame: object) -> None:
    raise SystemExit(128 + signum)  # runs every `finally`, and what is registered to run at the end
