"""The entry point of the command line."""

import sys
from collections.abc import Sequence

from .parsing import parse_annotate, parse_arguments, parse_convert, parse_prediction, parse_report
from .runtime.tags import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command with the given arguments (default: `sys.argv`) and return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        if argv and argv[0] == "predict":
            prediction = parse_prediction(argv[1:])
            from .prediction.predict import predict

            predict(prediction)
            return 0
        if argv and argv[0] == "annotate":
            annotation = parse_annotate(argv[1:])
            from .labellers.annotate import annotate

            annotate(annotation)
            return 0
        if argv and argv[0] == "report":
            report = parse_report(argv[1:])
            from .publishing.report import write_report

            write_report(report.folders, report.output)
            print(f"Report: {report.output}")
            return 0
        if argv and argv[0] == "convert":
            conversion = parse_convert(argv[1:])
            from .data.formats.convert import convert

            print(convert(conversion))
            return 0
        arguments = parse_arguments(argv)
        # This import takes seconds; --help and a mistyped flag should not wait for it.
        from .workflow.run import run

        run(arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == __package__:
            raise
        print(f'This needs {error.name}: pip install "hf_distill[train]".', file=sys.stderr)
        return 2
    return 0
