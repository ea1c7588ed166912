"""The `midspan` command. Only reads the command line; what a subcommand needs is imported when it runs."""

import argparse
import logging
import os
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import NoReturn


def main() -> NoReturn:
    arguments = _parser().parse_args()
    if arguments.command == "fill":
        from .fill import fill_file  # noqa: PLC0415

        path, line, column = arguments.place
        sys.exit(fill_file(path, line, column, _options(arguments), arguments.picture))
    if arguments.command == "demo":
        from .fill import demo  # noqa: PLC0415

        sys.exit(demo(_options(arguments), arguments.picture))
    if arguments.stdio:
        _serve(arguments.log_level)
    _parser().error("nothing to do: give --stdio, or a command")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="midspan", description="Fills the gap in your code.")
    parser.add_argument("--version", action="version", version=f"midspan {metadata.version('midspan')}")
    parser.add_argument("--stdio", action="store_true", help="serve an editor over standard input and output")
    parser.add_argument(
        "--log-level", default="warning", choices=("debug", "info", "warning", "error"), help="of the log on stderr"
    )
    # vscode-languageclient appends it to every server's command line; we are told the same in `initialize`.
    parser.add_argument("--clientProcessId", type=int, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", metavar="")
    fill = commands.add_parser("fill", help="fill the gap at a place in a file and print it")
    fill.add_argument("place", type=_place, metavar="FILE:LINE[:COLUMN]", help="counted from 1; default: line's end")
    demo = commands.add_parser("demo", help="fill the gap in a small sample")
    for command in (fill, demo):
        command.add_argument("--model", type=_directory, help="directory of a checkpoint (default: the bundled one)")
        command.add_argument("--picture", type=Path, metavar="FILE", help="also save what is printed as SVG")
    return parser


def _place(argument: str) -> tuple[Path, int, int | None]:
    match = re.fullmatch(r"(.+?):([0-9]+)(?::([0-9]+))?", argument)
    if match is None or int(match[2]) < 1 or match[3] == "0":
        raise argparse.ArgumentTypeError(f"{argument!r} is not FILE:LINE or FILE:LINE:COLUMN")
    return Path(match[1]), int(match[2]), int(match[3]) if match[3] else None


def _directory(argument: str) -> Path:
    path = Path(argument).absolute()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{argument!r} is not a directory")
    return path


def _options(arguments: argparse.Namespace) -> dict[str, object]:
    return {"model": str(arguments.model)} if arguments.model else {}


def _serve(level: str) -> NoReturn:
    from .startup import lean_imports  # noqa: PLC0415
    from .stdio import Stdio  # noqa: PLC0415

    wire = Stdio()  # first of all: whatever is imported from here on may print
    logging.basicConfig(level=level.upper(), stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("pygls").setLevel(logging.ERROR)  # below that it logs whole messages, and so the user's text
    with lean_imports():
        from .server import Server  # noqa: PLC0415
        from .transport import serve  # noqa: PLC0415

    try:
        code = serve(Server(), wire)
    except KeyboardInterrupt:
        code = 130
    sys.stderr.flush()
    # Not sys.exit: that would wait for the engine thread, which may be in the middle of a step.
    os._exit(code)
