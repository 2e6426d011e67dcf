"""Reading lines; writing files so that no crash, and no other process, leaves half of one; files of a training run."""

import errno
import gzip
import hashlib
import json
import os
import re
import shutil
import socket
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedIOBase, BytesIO
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock, Timeout

from .runtime.tags import UserError

# What is read at once, so that no file takes more memory than is known beforehand, however small it is compressed.
LONGEST_LINE = 16 * 2**20  # bytes of a line
LARGEST_FILE = 256 * 2**20  # bytes of a file of a format that has no lines, decompressed
LARGEST_YAML, DEEPEST_YAML = 2**18, 20  # bytes, and lists and mappings in each other
TEMPORARY = ".hf_distill-tmp-"  # names of files and folders that are not finished begin so
# Behind it stands who writes them: this machine, because the folder may be shared with others, and the process.
HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
MANIFEST_NAME = "manifest.json"
TRAINER_STATE_NAME = "trainer_state.json"
# Beside the model and its manifest, what Trainer writes into a checkpoint.
TRAINING_STATE = "optimizer.pt scheduler.pt scaler.pt rng_state*.pth projections.safetensors trainer_state.json".split()
# What a machine or a path may refuse, and what to do then.
FAULTS = {
    errno.ENOSPC: "Make room on that disk.",
    errno.EDQUOT: "Your share of that disk is used up: make room on it.",
    errno.EFBIG: "The file system or a limit (ulimit -f) forbids such large files: write elsewhere, or raise it.",
    errno.EROFS: "Choose a place that can be written to.",
    errno.EACCES: "Change its permissions, or choose another place.",
    errno.EPERM: "Change its permissions, or choose another place.",
    errno.EPIPE: "What reads the output (head, say) has ended: write it to a file.",
    errno.EIO: "The disk or its connection fails: check it, or choose another place.",
    errno.ESTALE: "The network drive has lost it: mount it again, or choose another place.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
    errno.ENFILE: "Too many files are open on this machine: end other programs.",
    errno.ENOTDIR: "A part of this path is no folder: choose another place.",
    errno.EEXIST: "Something else has that name, a broken link perhaps: remove it, or choose another name.",
    errno.ELOOP: "A link there leads to itself: remove it, or choose another place.",
    errno.ENAMETOOLONG: "Most systems take names of up to 255 bytes and paths of up to 4,095: choose a shorter one.",
}


def find_fault(error: BaseException | None) -> OSError | None:
    """Return the error of the system (one of `FAULTS`) that an exception is, was raised from, or puts into words."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FAULTS:
            return error
        number = 0
        if found := re.search(r"\(os error (\d+)\)", str(error)):  # of safetensors and tokenizers
            number = int(found[1])
        elif isinstance(error, RuntimeError) and re.search("PytorchStreamWriter|unexpected pos|iostream", str(error)):
            number = errno.ENOSPC  # torch.save does not say why it could not write; this is why, nearly always
        if number in FAULTS:
            return OSError(number, os.strerror(number))
        error = error.__cause__
    return None


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Name the file or folder that is being written, where the system refuses it and libraries do not say so.

    Raises:
        OSError: with the path.
    """
    try:
        yield
    except Exception as error:
        fault = find_fault(error)
        if fault is None or fault.filename and TEMPORARY not in str(fault.filename2 or fault.filename):
            raise
        raise OSError(fault.errno, os.strerror(fault.errno or 0), str(path)) from error


def _own_prefix() -> str:
    return f"{TEMPORARY}{HOST}-{os.getpid()}-"


def _runs(process: int) -> bool:
    if os.name != "posix":  # there os.kill ends it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_dead(folder: Path) -> None:
    """Remove from a folder the temporary files and folders of processes of this machine that have ended."""
    for path in list(folder.glob(f"{TEMPORARY}{HOST}-*")):
        process = re.match(r"(\d+)-", path.name.removeprefix(f"{TEMPORARY}{HOST}-"))
        if process and not _runs(int(process[1])):
            with suppress(OSError):  # another process does the same, or it is another user's
                _remove(path)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give the name of a temporary file, or folder, that takes the place of `path` once it is written.

    Raises:
        UserError: there is something else than a file or folder under that name.
        OSError: the system refuses it; with the path.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():  # /dev/null would be lost to the whole machine
        raise UserError(f"{path} is no file that could be replaced. Give a file's name.")
    remove_dead(path.parent)
    temporary = path.with_name(f"{_own_prefix()}{path.name}")
    try:
        with writing(path):
            yield temporary
            os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):  # the first error is the one to know
            _remove(temporary)
        raise


@contextmanager
def temporary_folder(folder: str | Path) -> Iterator[Path]:
    """Give a folder within `folder` that is removed at the end.

    Raises:
        OSError: the system refuses what is written; with the path of `folder`.
    """
    folder = Path(folder)
    with writing(folder):
        remove_dead(folder)
        with TemporaryDirectory(dir=folder, prefix=_own_prefix(), ignore_cleanup_errors=True) as temporary:
            yield Path(temporary)


def write_text(path: str | Path, text: str) -> None:
    """Write text atomically: to a temporary file that is then renamed."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: str | Path, content) -> None:
    """Write JSON atomically."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict:
    """Read a JSON object; an empty one if the file does not exist.

    Raises:
        UserError: it is no JSON, or no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON: {error}. Remove it, or write it anew.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no JSON object. Remove it, or write it anew.")
    return content


def numbered_lines(path: str, whole: bool = False) -> Iterator[tuple[int, str]]:
    """Yield (number, line) of a UTF-8 file (gzip if its name ends in .gz), without line ends and byte order mark.

    Args:
        path: the file.
        whole: whether it is read at once, as `read_bytes` does; then a line may be of any length.

    Raises:
        UserError: the file is not valid gzip or UTF-8, or too large, or a line is too long or has a NUL character.
    """
    with BytesIO(read_bytes(path)) if whole else open_bytes(path) as file:
        for number, raw in enumerate(file if whole else read_lines(file, path), 1):
            yield number, decode_line(raw, f"{path}:{number}", number == 1)


def open_bytes(path: str) -> BufferedIOBase:
    """Open a file for reading, decompressed if its name ends in .gz."""
    return gzip.open(path) if path.endswith(".gz") else open(path, "rb")


def read_lines(file: BufferedIOBase, path: str) -> Iterator[bytes]:
    """Yield the lines of an opened file, with their line ends.

    Raises:
        UserError: it is not valid gzip, or a line is longer than LONGEST_LINE.
    """
    for number in count(1):
        with explain_gzip_errors(f"{path}:{number}"):
            line = file.readline(LONGEST_LINE + 1)
        if len(line) > LONGEST_LINE:
            raise UserError(
                f"{path}:{number}: the line is longer than {LONGEST_LINE:,} bytes: {line[:80]!r:.200}. Divide it into "
                "several."
            )
        if not line:
            return
        yield line


def decode_line(raw: bytes, place: str, first: bool) -> str:
    """Return a line of a UTF-8 file without its end and, if it is the `first`, without a byte order mark.

    Raises:
        UserError: it is not UTF-8, or has a NUL character.
    """
    try:
        line = raw.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{place}: not UTF-8 ({error.reason} at byte {error.start}): {raw[:80]!r:.200}. Convert the file to UTF-8."
        ) from None
    line = line.rstrip("\n").removesuffix("\r")
    if "\0" in line:
        raise UserError(
            f"{place}: the line contains a NUL character (UTF-16?): {line[:80]!r:.200}. Convert it to UTF-8."
        )
    return line


@contextmanager
def explain_gzip_errors(place: str) -> Iterator[None]:
    """Convert errors of gzip to a UserError."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{place}: not a whole gzip file: {error}. Compress the file again.") from None


def read_bytes(path: str) -> bytes:
    """Return a file's content, decompressed if its name ends in .gz.

    Raises:
        UserError: it is not valid gzip, or larger than LARGEST_FILE.
    """
    with explain_gzip_errors(path), open_bytes(path) as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise UserError(
            f"{path}: larger than {LARGEST_FILE:,} bytes, and read at once. Divide it into several files, or convert "
            "it to a format that is read line by line (.jsonl, .tsv)."
        )
    return content


def read_yaml(path: str | Path) -> str:
    """Return the text of a YAML file whose values take no more memory and time than its size tells.

    Raises:
        UserError: it is not valid YAML, is too large, has aliases, or nests too many lists and mappings.
    """
    import yaml

    with open(path, "rb") as file:
        content = file.read(LARGEST_YAML + 1)
    if len(content) > LARGEST_YAML:
        raise UserError(f"{path}: larger than {LARGEST_YAML:,} bytes: no configuration.")
    depth = 0
    try:
        text = content.decode()
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            place = f"{path}:{event.start_mark.line + 1}"
            if isinstance(event, yaml.AliasEvent):
                raise UserError(f"{place}: an alias (*{event.anchor:.80}): write out what it stands for.")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST_YAML:
                raise UserError(f"{place}: more than {DEEPEST_YAML} lists and mappings in each other.")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {error}") from None
    return text


def check_file(path: str) -> None:
    """Raise UserError if there is no such file, or something else under that name."""
    if not Path(path).exists():
        raise UserError(f"{path}: no such file.")
    if not Path(path).is_file():
        raise UserError(f"{path}: a folder, pipe or device. Give the name of a regular file.")


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold a lock on a file, which a process that ends for any reason lets go.

    Raises:
        UserError: another process holds it.
    """
    held = FileLock(path)
    try:
        held.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"{path}: another process writes there at this moment. Wait for it, or choose another output."
        ) from None
    try:
        yield
    finally:
        held.release()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder: Path) -> dict[str, str] | None:
    """Return the digests of the files that this program wrote into a folder, by name; None if that list is damaged."""
    try:
        written = read_json(folder / MANIFEST_NAME)
    except UserError:
        return None
    return written if all(isinstance(digest, str) for digest in written.values()) else None


def record(folder: str | Path, names: Iterable[str]) -> None:
    """Write into a folder's manifest that this program has just written files of these names there."""
    folder = Path(folder)
    written = read_manifest(folder) or {}  # of a damaged one, what it listed counts as foreign from now on
    written |= {name: file_digest(folder / name) for name in names}
    write_json(folder / MANIFEST_NAME, written)


@contextmanager
def recorded(folder: str | Path) -> Iterator[Path]:
    """Give an empty folder; what is written into it is then moved into `folder`, and recorded in its manifest."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with temporary_folder(folder) as temporary:
        yield temporary
        names = sorted(path.name for path in temporary.iterdir())
        for name in names:
            os.replace(temporary / name, folder / name)
    record(folder, names)


def changed_files(folder: Path) -> list[str]:
    """Return the files of a folder's manifest that are missing, behind links, or not as they were written; the manifest
    itself if it is damaged.
    """
    changed = []
    written = read_manifest(folder)
    if written is None:
        return [MANIFEST_NAME]
    for name, digest in written.items():
        path = folder / name
        own = path.is_file() and path.resolve() == folder.resolve() / name
        if not own or file_digest(path) != digest:
            changed.append(name)
    return changed


def is_whole(folder: Path) -> bool:
    """Whether this program has written into a folder, and all of that is there, unchanged."""
    return (folder / MANIFEST_NAME).exists() and not changed_files(folder)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files and folders that a killed process left in a folder of this program, or below."""
    for path in list(folder.rglob(f"{TEMPORARY}*")):
        _remove(path)


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a run, whole or not, the newest first."""
    found = [path for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)


def record_checkpoint(folder: Path) -> None:
    """Record the training state that Trainer has written into a checkpoint; after that the checkpoint is whole."""
    record(folder, [path.name for pattern in TRAINING_STATE for path in sorted(folder.glob(pattern))])


def missing_from_checkpoint(folder: Path) -> str:
    """Return what a checkpoint lacks for an exact continuation of its run, or ""."""
    if changed := changed_files(folder):
        return f"{', '.join(changed)}: missing or changed"
    if TRAINER_STATE_NAME not in (read_manifest(folder) or {}):
        return "it was not written to its end"
    if not any(folder.glob("optimizer*")) and not any(folder.glob("global_step*")):
        return "it has no state of the optimizer (--save_only_model)"
    best = read_json(folder / TRAINER_STATE_NAME).get("best_model_checkpoint")
    if best and not is_whole(folder.parent / Path(best).name):
        return f"the best checkpoint, {Path(best).name}, is gone or not whole"
    return ""


def training_state(folder: Path) -> dict:
    """Read the `trainer_state.json` of a run, else that of its newest checkpoint with one; empty if there is none."""
    for source in (folder, *checkpoints(folder)):
        with suppress(UserError):  # a process may have been killed while writing it
            if state := read_json(source / TRAINER_STATE_NAME):
                return state
    return {}


def write_columns(path: str | Path, *columns: Iterable[Sequence[str]]) -> None:
    """Write a TSV file atomically: one line per word, an empty line after each sentence.

    Args:
        path: the file; its folder is created if needed.
        columns: the values of each column (tokens, tags, ...), one sequence per sentence with one value per word.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        for sentence in zip(*columns, strict=True):
            file.writelines("\t".join(word) + "\n" for word in zip(*sentence, strict=True))
            file.write("\n")


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a plain-text table, the first column aligned left, the others aligned right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
