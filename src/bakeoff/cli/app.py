"""What the commands share: they are added to the program by the modules beside this one."""

from __future__ import annotations

import errno
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from typer.core import TyperArgument, TyperCommand

from bakeoff import __version__
from bakeoff.errors import BakeoffError, InputError, StorageError
from bakeoff.models.quiet import quiet_libraries as quiet_libraries


class Command(TyperCommand):
    """A command whose help names its arguments as they are typed, `STUDY`, `[TEXT]...`: no braces, types, ranges."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["[OPTIONS]", *(name for name, _ in self._arguments(ctx))]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        shown = [param.get_help_record(ctx) for param in self.get_params(ctx) if param.param_type_name == "option"]
        options = list(filter(None, shown))
        for title, rows in (("Arguments", self._arguments(ctx)), ("Options", options)):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def _arguments(self, ctx: Any) -> list[tuple[str, str]]:
        """Each argument's name and what it is."""
        found: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            if isinstance(param, TyperArgument):
                shown = param.metavar or param.name.upper()
                name = shown if param.required else f"[{shown}]"
                found.append((name + "..." * (param.nargs != 1), param.help or ""))
        return found


def whole(option: str, least: int = 1) -> Callable[[str], int]:
    """What reads the whole numbers of an option: from `least` on."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = None
        if number is None or number < least:
            raise InputError(option, f"'{text}' is no whole number", f"give {least} or more")
        return number

    return read


def positive(option: str, such_as: str) -> Callable[[str], float]:
    """What reads the numbers above 0 of an option; `such_as` is one."""

    def read(text: str) -> float:
        try:
            found = float(text)
        except ValueError:
            found = math.nan
        if not 0 < found < math.inf:
            raise InputError(option, f"'{text}' is no number above 0", f"give one such as {such_as}")
        return found

    return read


class _App(typer.Typer):
    def command(self, name: str | None = None, **how: Any) -> Any:
        return super().command(name, cls=Command, **how)


app = _App(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Which fine-tuning method for this model, this task and this budget? A controlled comparison, with evidence.",
)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Screen(Console):
    """A console that shows names and paths as they are, `lora[r=4]`; what a terminal would obey in them is spelled."""

    def __init__(self, **how: Any):
        super().__init__(markup=False, emoji=False, highlight=False, **how)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for one in super().render(renderable, options):
            if not one.control and not one.text.replace("\n", "").isprintable():
                from bakeoff.report.tables import inert

                one = one._replace(text=inert(one.text))
            yield one


console = Screen()

StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="A study file, or a built-in study's name.")]
Directory = Annotated[Path, typer.Argument(metavar="DIR", help="A directory that `bakeoff run` wrote.")]
TrialName = Annotated[
    str,
    typer.Argument(
        metavar="TRIAL", help="task/method/seed 0 (tuning: task/method/rate 0.001), or the start of its key."
    ),
]
Out = Annotated[str | None, typer.Option("--out", metavar="DIR", help="Where results go (default: runs/<study>).")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the study, e.g. training.max_steps=20.")
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", parser=whole("--limit"), metavar="N", help="At most N training and N test examples per task."
    ),
]
From = Annotated[
    Path | None,
    typer.Option("--from", metavar="FILE", help="Where models and data lie here: `models:` and `data:` in YAML."),
]
Engine = Annotated[
    str,
    typer.Option(
        "--engine", metavar="auto|lanes|reference", help="Many adapters in one pass, or plain Hugging Face + PEFT."
    ),
]
Executor = Annotated[
    str,
    typer.Option(
        "--executor", metavar="inline|process|ray", help="Where groups run: here, in a process beside, on a cluster."
    ),
]
Unsafe = Annotated[
    bool, typer.Option("--unsafe-no-sandbox", help="Run model-written code as you, unprotected; reports say so.")
]
GroupSize = Annotated[
    int | None,
    typer.Option(
        "--group-size",
        parser=whole("--group-size"),
        metavar="N",
        help="Trials that share a pass (default: by device and model).",
    ),
]


def told(error: Exception) -> int:
    """Say what ended a command, in one line; the exit code. What is no error of the user's is a defect and flies on."""
    if isinstance(error, BrokenPipeError):  # who read what is printed has had enough
        return 1
    if isinstance(error, OSError) and error.filename is None and error.errno in _FULL:
        error = StorageError("what is printed", str(error.strerror), "free some space and run the same command again")
    if isinstance(error, BakeoffError):
        _say(error)
        return error.exit_code
    return _shown_by_typer(error)


def _say(error: BakeoffError) -> None:
    Screen(stderr=True, soft_wrap=True).print(_line(error))


def _used(error: Any) -> InputError:
    """What the command line's parser refuses (unknown options, missing arguments), as we say such things."""
    context, what = getattr(error, "ctx", None), " ".join(error.format_message().split()).rstrip(".")
    command = context.command_path if context else "bakeoff"
    return InputError(command, f"{what[0].lower()}{what[1:]}", f"`{command} --help` says what is accepted")


def _line(error: BakeoffError) -> str:
    """An error as one line that no terminal obeys, whatever names the user's files put into it."""
    from bakeoff.report.tables import inert

    return "error: " + inert(str(error)).replace("\n", "\\n").replace("\t", "\\t")


def _shown_by_typer(error: Exception) -> int:
    """Usage errors, each in one line of ours, and exits that typer raises; anything else flies on, it is a defect."""
    if type(error).__name__ == "Abort":
        return 130
    if hasattr(error, "format_message") and type(error).__name__ != "NoArgsIsHelpError":
        _say(_used(error))
        return InputError.exit_code
    if hasattr(error, "show") and hasattr(error, "exit_code"):
        error.show()  # pyright: ignore[reportAttributeAccessIssue]
        return int(error.exit_code)  # pyright: ignore[reportAttributeAccessIssue]
    if hasattr(error, "exit_code"):
        return int(error.exit_code)  # pyright: ignore[reportAttributeAccessIssue]
    raise error


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        console.print(f"bakeoff {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        console.print(context.get_help())


def show_table(directory: Path) -> None:
    """A study's table, as the terminal shows it."""
    import bakeoff
    from bakeoff.report.terminal import table

    console.print(table(bakeoff.open(directory)))
