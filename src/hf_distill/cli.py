"""The entry point of the command line. What ends a command is decided here: the message, and the exit status.

0: done. 1: the machine failed, or this program did (with a traceback). 2: the user can correct it. 130, 143: stopped by
SIGINT or SIGTERM.
"""

import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from io import TextIOWrapper

from .files import FAULTS, find_fault
from .parsing import TRACEBACK, parse_annotate, parse_arguments, parse_convert, parse_prediction, parse_report
from .runtime.tags import UserError

WRONG_PATHS = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST, errno.ELOOP)  # errors of the user
ELSEWHERE = (errno.EROFS, errno.EACCES, errno.EPERM, *WRONG_PATHS)  # errors that call for another command
SHOWN = 120  # characters of a path that is too long
# Characters; of a longer one, which quotes a library that quotes a value, the middle is left out.
LONGEST_MESSAGE = 2000


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command with the given arguments (default: `sys.argv`) and return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    _complete_streams()
    _bars_for_what_lasts()
    arguments = [argument for argument in argv if argument != TRACEBACK]
    name = arguments[0] if arguments and arguments[0] in COMMANDS else ""
    command, go_on = COMMANDS[name]
    with _stoppable(go_on) as stops:
        try:
            command(arguments[1:] if name else arguments)
        except BaseException as error:
            # After a stop also what it leads to: a worker process that is gone, say.
            message, status = ("", 128 + stops[0]) if stops else _explain(error, go_on)
            if TRACEBACK in argv:
                traceback.print_exception(error)
            if message:
                print(message, file=sys.stderr)
            return status
    return 0


def _predict(argv: Sequence[str]) -> None:
    arguments = parse_prediction(argv)
    from .prediction.predict import predict

    predict(arguments)


def _annotate(argv: Sequence[str]) -> None:
    arguments = parse_annotate(argv)
    from .labellers.annotate import annotate

    annotate(arguments)


def _report(argv: Sequence[str]) -> None:
    arguments = parse_report(argv)
    from .publishing.report import write_report

    write_report(arguments.folders, arguments.output)
    print(f"Report: {arguments.output}")


def _convert(argv: Sequence[str]) -> None:
    arguments = parse_convert(argv)
    from .data.formats.convert import convert

    print(convert(arguments))


def _run(argv: Sequence[str]) -> None:
    arguments = parse_arguments(argv)
    # This import takes seconds; --help and a mistyped flag should not wait for it.
    from .workflow.run import run

    run(arguments)


ANEW = "The same command begins anew."
# What each does, and how to go on after a stop or a fault. The one without a name distils.
COMMANDS: dict[str, tuple[Callable[[Sequence[str]], None], str]] = {
    "": (_run, "The same command goes on from the last checkpoint, with what the teacher has labelled."),
    "predict": (_predict, ANEW),
    "annotate": (
        _annotate,
        "The same command goes on from OUTPUT.partial, which has all answers so far.",
    ),
    "report": (_report, ANEW),
    "convert": (_convert, ANEW),
}


def _complete_streams() -> None:
    """Have standard output and error take whatever is written there, where they are closed (2>&-) or lack letters."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # otherwise the first file that is opened would get this number, and what is written to it
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _bars_for_what_lasts() -> None:
    """Have all libraries show progress bars of what takes long alone, and seldom in a file, where each state stays.

    These are settings of tqdm, which reads them when it is imported; those that the user has made stay.
    """
    in_terminal = sys.stderr.isatty()
    os.environ.setdefault("TQDM_DELAY", "2" if in_terminal else "60")  # seconds before a bar appears
    if not in_terminal:
        for name in ("TQDM_MININTERVAL", "TQDM_MAXINTERVAL"):  # seconds between its states
            os.environ.setdefault(name, "300")


def _explain(error: BaseException, go_on: str) -> tuple[str, int]:
    """The message and the exit status of an error that is not this program's; one that is, is raised again."""
    if fault := find_fault(error):
        path = os.fsdecode(fault.filename or "The output, the cache (HF_HOME) or a temporary file (TMPDIR)")
        if fault.errno == errno.ENAMETOOLONG and len(path) > SHOWN:
            path = f"{path[:SHOWN]}... ({len(path):,} characters)"
        message = f"{path}: {fault.strerror}. {FAULTS[fault.errno or 0]}"
        return (message if fault.errno in ELSEWHERE else f"{message} {go_on}"), 1 + (fault.errno in WRONG_PATHS)
    if isinstance(error, UserError):
        message, half = str(error), LONGEST_MESSAGE // 2 - 10
        whole = len(message) <= LONGEST_MESSAGE
        return message if whole else f"{message[:half]} [...] {message[-half:]}", 2
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] != __package__:
        return f'This needs {error.name}: pip install "hf_distill[train]".', 2
    if isinstance(error, BrokenProcessPool):
        return f"A worker process was killed, most likely because memory ran out. {go_on}", 1
    if isinstance(error, ImportError) and error.name is None:  # no import of a module: a library says what it needs
        return str(error), 2
    if isinstance(error, KeyboardInterrupt):  # of a library, or another handler's
        return "", 128 + signal.SIGINT
    raise error


@contextmanager
def _stoppable(go_on: str) -> Iterator[list[int]]:
    """Say at the first SIGINT or SIGTERM how to go on, and raise KeyboardInterrupt; give the list of such signals."""
    stops: list[int] = []
    process = os.getpid()

    def stop(number: int, frame: object) -> None:
        if os.getpid() != process:  # a worker that was forked
            raise KeyboardInterrupt(number)
        stops.append(number)
        if len(stops) == 1:
            if int(os.environ.get("RANK", 0)) == 0:
                os.write(2, f"\nStopped. {go_on}\n".encode())  # print may be at work at this moment
            raise KeyboardInterrupt(number)
        if len(stops) > 2:  # terminals and launchers send two; who insists does not wait for the tidying up
            os._exit(128 + number)

    # What a parent process has told to ignore (nohup, a shell's &) stays ignored.
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    if threading.current_thread() is threading.main_thread():
        for each, handler in handlers.items():
            if handler in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(each, stop)
    try:
        yield stops
    finally:
        for each, handler in handlers.items():
            if signal.getsignal(each) is stop:
                signal.signal(each, handler)
