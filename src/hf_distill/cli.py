"""The main door."""

import sys
from collections.abc import Sequence

from .labels import UserError
from .parsing import parse_arguments, parse_prediction, parse_report


def main(argv: Sequence[str] | None = None) -> int:
    """Run with the given arguments (default: those of the command line). Returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        if argv and argv[0] == "predict":
            arguments = parse_prediction(argv[1:])
            from .prediction import predict

            predict(arguments)
            return 0
        if argv and argv[0] == "report":
            report = parse_report(argv[1:])
            from .report import write_report

            write_report(report.folders, report.output)
            print(f"Report: {report.output}")
            return 0
        arguments = parse_arguments(argv)
        from .run import run  # takes seconds to import, for which neither --help nor a mistyped flag should wait

        run(*arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0
