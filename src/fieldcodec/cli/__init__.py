"""The command `fieldcodec`: one file per subcommand, each with an options class and `run(options)`.

    arguments -> [prepare] -> options class -> run -> results on stdout, talk on stderr, exit code

A subcommand's module is imported only when it is called, so that `fieldcodec info` answers at once.
"""

import importlib
import os
import sys
import traceback
from collections.abc import Sequence

import fieldcodec
from fieldcodec.cli.console import say
from fieldcodec.errors import ExitCode, FieldcodecError, UsageError

COMMANDS = {
    "encode": "compress a volume, a sequence or a collection of meshes into a .fcodec file",
    "decode": "restore volumes, or objects of a collection, from a .fcodec file",
    "info": "list the grids or objects of a .fcodec, .vdb or .nvdb file",
    "compare": "measure how far one volume is from another, or a collection from its meshes",
    "sample": "print the values of a volume or object at points",
    "collection": "add and remove objects, a map of all, objects that are alike, blends",
    "report": "write a page about a .fcodec file and how near it is to its original",
    "voxelize": "turn a mesh into a level set, or a dense array into a fog volume",
    "mesh": "write the surface of a volume as a .ply or .obj mesh",
    "radiance": "fit a radiance field to posed pictures, and write it as a volume",
    "generate": "make a procedural volume or sequence",
    "render": "draw a volume or objects: fog, surfaces, slices, turntables, contact sheets",
    "view": "look at a volume in the browser, and compare it with its original",
    "bench": "compare our files with those of other codecs at equal error",
    "demo": "encode and decode a volume, print the report, write a picture",
}

USAGE = "\n".join(
    [
        "usage: fieldcodec COMMAND [options]",
        "",
        "Stores sparse volumes and collections of objects very small, and gives volumes back with the exact topology.",
        "",
        "commands:",
        *(f"  {name:<12}{text}" for name, text in COMMANDS.items()),
        "",
        "options:",
        "  --version   print the version",
        "  --debug     print the traceback of errors (also FIELDCODEC_DEBUG=1)",
        "  -h, --help  print this text; `fieldcodec COMMAND --help` prints the options of a command",
        "",
    ]
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code (`fieldcodec.errors.ExitCode`)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments or os.environ.get("FIELDCODEC_DEBUG", "0") not in ("", "0")
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except SystemExit as request:  # the option parser has printed help or a usage error
        return _code_of(request)
    except BrokenPipeError:  # the reader of our output has gone, as in `fieldcodec info x | head -1`
        _drop_stdout()
        return ExitCode.OK
    except KeyboardInterrupt:
        say("fieldcodec: interrupted; no half-written file is left")
        return ExitCode.INTERRUPTED
    except Exception as error:  # the one place where errors become exit codes
        if debug:
            traceback.print_exc()
        say(f"fieldcodec: error: {_describe(error, debug=debug)}")
        return _exit_code(error)


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(USAGE)
        return ExitCode.OK if arguments else ExitCode.USAGE
    if arguments[0] in ("--version", "-V", "version"):
        sys.stdout.write(f"fieldcodec {fieldcodec.__version__}\n")
        return ExitCode.OK
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        raise UsageError(f"unknown command {name!r}; known are {', '.join(COMMANDS)}; see fieldcodec --help")
    module = importlib.import_module(f"fieldcodec.cli.{name}")
    options = module.parse(rest)
    return int(module.run(options))


def _describe(error: Exception, *, debug: bool) -> str:
    if isinstance(error, FieldcodecError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"out of memory: {error or 'an allocation failed'}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    hint = "" if debug else "; run again with --debug for the traceback, and please report it"
    return f"internal error: {type(error).__name__}: {error}{hint}"


def _exit_code(error: Exception) -> int:
    if isinstance(error, FieldcodecError):
        return error.exit_code
    return ExitCode.INPUT if isinstance(error, OSError) and error.strerror else ExitCode.INTERNAL


def _code_of(request: SystemExit) -> int:
    if request.code is None:
        return ExitCode.OK
    return request.code if isinstance(request.code, int) else ExitCode.INTERNAL


def _drop_stdout() -> None:
    """Send what is still buffered nowhere, so that the interpreter does not complain at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
