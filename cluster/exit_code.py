"""How a command ends: its exit code, and one sentence for whatever goes wrong.

Exit codes: 0 done, 1 the job failed, 2 what the user wrote is wrong, 130 interrupted: `headrace resume` goes on. The
traceback of what nobody foresaw is in a file.
"""

import sys
from typing import Any

import typer

from cluster.command_line import app
from cluster.screen import err, silence
from shared.errors import HeadraceError

UsageError: Any = typer.BadParameter.__mro__[1]
"""Of the click that typer uses, which may be its own."""


def main() -> None:
    """The command line."""
    sys.exit(exit_code(sys.argv[1:]))


def exit_code(words: list[str]) -> int:
    """Does what `words` say and gives the exit code; every error is one sentence on stderr."""
    try:
        return _invoke(words or ["--help"])
    except HeadraceError as error:
        _say(str(error))
        return error.exit_code
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # `headrace features`: its text is the help
            print(error.format_message())
            return 0
        _say(_usage_sentence(error))
        return 2
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        silence(sys.stdout.fileno())
        return 0
    except Exception as error:
        from cluster.driver_log import keep_traceback, unforeseen

        _say(unforeseen(error, keep_traceback(error)))
        return 1


def _invoke(words: list[str]) -> int:
    """As typer does it, but for what it makes of errors."""
    command = typer.main.get_command(app)
    try:
        with command.make_context("headrace", words) as context:
            command.invoke(context)
        code = 0
    except typer.Exit as ending:
        code = ending.exit_code
    sys.stdout.flush()
    return code


def _say(sentence: str) -> None:
    err.print(f"headrace: {sentence}", style="red", markup=False, highlight=False)


def _usage_sentence(error: Any) -> str:
    """`no such option: --frob; see: headrace run --help`."""
    text = error.format_message().strip().rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{text[:1].lower()}{text[1:]}; see: {context.command_path if context else 'headrace'} --help"
