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
        from .commands.fill import fill_file  # noqa: PLC0415

        path, line, column = arguments.place
        sys.exit(fill_file(path, line, column, _options(arguments), arguments.picture))
    if arguments.command == "demo":
        from .commands.fill import demo  # noqa: PLC0415

        sys.exit(demo(_options(arguments), arguments.picture))
    if arguments.command == "why":
        from .commands.explain import why_file  # noqa: PLC0415

        path, line, column = arguments.place
        sys.exit(why_file(path, line, column, _options(arguments)))
    if arguments.command == "doctor":
        from .commands.doctor import doctor  # noqa: PLC0415
        from .commands.findings import Wishes  # noqa: PLC0415

        sys.exit(doctor(Wishes(arguments.model, arguments.device, arguments.quantize), arguments.json))
    if arguments.command == "replay":
        from .commands.replay import replay  # noqa: PLC0415

        sys.exit(replay(arguments.recording))
    if arguments.command == "serve-http":
        _serve_http(arguments)
    if arguments.stdio:
        _serve(arguments.log_level, arguments.record)
    _parser().error("nothing to do: give --stdio, or a command")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="midspan", description="Fills the gap in your code.")
    parser.add_argument("--version", action="version", version=f"midspan {metadata.version('midspan')}")
    parser.add_argument("--stdio", action="store_true", help="serve an editor over standard input and output")
    parser.add_argument(
        "--log-level", default="warning", choices=("debug", "info", "warning", "error"), help="of the log on stderr"
    )
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="write every message, with the text of all open files, to FILE"
    )
    # vscode-languageclient appends it to every server's command line; we are told the same in `initialize`.
    parser.add_argument("--clientProcessId", type=int, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", metavar="")
    fill = commands.add_parser("fill", help="fill the gap at a place in a file and print it")
    fill.add_argument("place", type=_place, metavar="FILE:LINE[:COLUMN]", help="counted from 1; default: line's end")
    demo = commands.add_parser("demo", help="fill the gap in a small sample")
    why = commands.add_parser("why", help="say what would be suggested at a place in a file, or why nothing")
    why.add_argument("place", type=_place, metavar="FILE:LINE[:COLUMN]", help="counted from 1; default: line's end")
    replay = commands.add_parser("replay", help="run a recorded session again and compare its answers")
    replay.add_argument("recording", type=Path, metavar="FILE", help="what --record has written")
    check = commands.add_parser("doctor", help="say whether all is here that a fill needs, and what to do if not")
    check.add_argument("--json", action="store_true", help="for programs")
    check.add_argument("--device", default="cpu", help="auto, cpu, cuda, cuda:1, mps (default: cpu)")
    check.add_argument("--quantize", choices=("bf16", "fp8", "int8", "int4"), help="default: as memory allows")
    http = commands.add_parser("serve-http", help="serve clients of llama.cpp and OpenAI on this machine's loopback")
    http.add_argument("--port", type=_port, default=8012, help="default: 8012; 0: any free one")
    http.add_argument("--token-file", type=Path, metavar="FILE", help="default: $MIDSPAN_HTTP_TOKEN, or made up")
    for command in (fill, demo, why, check, http):
        command.add_argument("--model", type=_directory, help="directory of a checkpoint (default: the bundled one)")
    for command in (fill, demo):
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


def _port(argument: str) -> int:
    if not (argument.isascii() and argument.isdigit() and int(argument) < 65536):
        raise argparse.ArgumentTypeError(f"{argument!r} is not a port")
    return int(argument)


def _options(arguments: argparse.Namespace) -> dict[str, object]:
    return {"model": str(arguments.model)} if arguments.model else {}


def _serve_http(arguments: argparse.Namespace) -> NoReturn:
    from .http.server import serve_http  # noqa: PLC0415

    format_ = "%(asctime)s %(name)s %(levelname)s %(message)s"
    logging.basicConfig(level=arguments.log_level.upper(), stream=sys.stderr, format=format_)
    code = serve_http(_options(arguments), arguments.port, arguments.token_file)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # as below


def _serve(level: str, record: Path | None) -> NoReturn:
    from .startup import lean_imports  # noqa: PLC0415
    from .wire.stdio import Stdio  # noqa: PLC0415

    recorder = None
    if record is None:
        wire = Stdio()  # first of all: whatever is imported from here on may print
    else:
        from .commands.recording import HOLDS, RecordedStdio, Recorder  # noqa: PLC0415

        try:
            recorder = Recorder(record)
        except OSError as error:
            sys.exit(f"midspan: cannot record to {record}: {error.strerror}")
        print(f"midspan: recording to {record}: {HOLDS}", file=sys.stderr)
        wire = RecordedStdio(recorder)
    logging.basicConfig(level=level.upper(), stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    for handler in logging.getLogger().handlers:
        handler.setLevel(level.upper())  # what the editor's log wants to know is not wanted here
    logging.getLogger("pygls").setLevel(logging.ERROR)  # below that it logs whole messages, and so the user's text
    with lean_imports():
        from .server import Server  # noqa: PLC0415
        from .wire.transport import serve  # noqa: PLC0415

    server = Server()
    if recorder is not None:
        server.stage, recorder.excluded = recorder.stage, server.session.excluded
    try:
        code = serve(server, wire)
    except KeyboardInterrupt:
        code = 130
    if recorder is not None:
        recorder.close()
    sys.stderr.flush()
    # Not sys.exit: that would wait for the engine thread, which may be in the middle of a step.
    os._exit(code)
