"""A student in the browser and in Python: agreement, latency and download size.

    npm --prefix demo/web ci && npm --prefix demo/web run build
    python benchmarks/web.py --data ../shared/data --student student

Enters BC2GM development sentences into the page of demo/web in headless Chromium, and runs Python's pipeline with ONNX
Runtime on them; both use the int8 file and one thread. Prints a table and, last, one line of JSON: `agree`, the share
of sentences with the same mentions in both; `browser_ms` and `python_ms`, the median time from text to mentions; and
the MB that the browser loads: `model_mb`, `tokenizer_mb`, `page_mb` (the page with its runtime).
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import torch
from common import ROOT, load, print_json
from playwright.sync_api import Page, sync_playwright
from transformers import AutoModelForTokenClassification

from hf_distill.files import format_table
from hf_distill.runtime.onnx_model import QUANTIZED_NAME
from hf_distill.runtime.pipeline import MentionPipeline
from hf_distill.teachers.loading import load_tokenizer

DIST = ROOT / "demo" / "web" / "dist"
# Chromium itself should send no requests.
FLAGS = "--disable-gpu --disable-background-networking --disable-component-update --disable-sync --no-first-run".split()


class QuietHandler(SimpleHTTPRequestHandler):
    """A file server without a log."""

    def log_message(self, format, *args):
        pass


class Demo:
    """The page with a student, in headless Chromium.

    Attributes:
        page: the browser's page.
        trouble: console messages, errors, and requests to other servers.
    """

    def __init__(self, page: Page, address: str):
        self.page = page
        self.trouble: list[str] = []
        page.on("console", lambda message: self.trouble.append(message.text))
        page.on("pageerror", lambda error: self.trouble.append(str(error)))
        page.on("request", lambda request: self._check(request.url, address))
        page.goto(address)
        self.wait()

    def _check(self, url: str, address: str) -> None:
        if not url.removeprefix("blob:").startswith(address) and not url.startswith("data:"):
            self.trouble.append(f"a request to {url}")

    def wait(self) -> None:
        """Wait until the mentions of the text or an error are shown."""
        self.page.wait_for_selector("#mentions[aria-busy=false], #status.error", state="attached")

    def find(self, text: str) -> list[tuple[str, int, int]]:
        """Enter a text. Returns the marked mentions: (entity type, start, end)."""
        self.page.fill("#text", text)
        self.wait()
        return self.marks()

    def marks(self) -> list[tuple[str, int, int]]:
        """The marked mentions."""
        parts = self.page.locator("#marks").evaluate(
            "marks => [...marks.childNodes].map(part => [part.textContent, part.dataset?.type])"
        )
        marks, place = [], 0
        for content, entity in parts:
            if entity:
                marks.append((entity, place, place + len(content)))
            place += len(content)
        return marks

    def milliseconds(self) -> float:
        """The latency of the last text, as the page shows it."""
        return float(self.page.inner_text("#last").split()[0])


@contextmanager
def open_demo(built: Path, student: Path, **context) -> Iterator[Demo]:
    """Serve the built page with a student locally, and open it. `context` is passed to `Browser.new_context`."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        for path in built.iterdir():
            if path.is_file():
                (Path(folder) / path.name).symlink_to(path.resolve())
        (Path(folder) / "model").symlink_to(student.resolve())
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=folder))
        Thread(target=server.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        try:
            page = browser.new_context(**context).new_page()
            yield Demo(page, f"http://127.0.0.1:{server.server_port}/")
        finally:
            browser.close()
            server.shutdown()
            server.server_close()


def python_pipeline(student: Path, threads: int = 1) -> MentionPipeline:
    """The student's pipeline with its int8 file."""
    model = AutoModelForTokenClassification.from_pretrained(student)
    return MentionPipeline(model=model, tokenizer=load_tokenizer(str(student)), onnx=QUANTIZED_NAME, threads=threads)


def spans(mentions: list[dict]) -> list[tuple[str, int, int]]:
    """The pipeline's mentions in the format of `Demo.find`."""
    return [(mention["entity_group"], mention["start"], mention["end"]) for mention in mentions]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default="../shared/data", help="folder that holds bc2gm/")
    parser.add_argument("--student", type=Path, required=True, help="folder of a student with ONNX files")
    parser.add_argument("--sentences", type=int, default=500)
    args = parser.parse_args()

    torch.set_num_threads(1)
    find = python_pipeline(args.student)
    texts = [" ".join(words) for words in load(args.data, "devel")["tokens"][: args.sentences]]
    agree, mentions, browser, python = 0, 0, [], []
    with open_demo(DIST, args.student) as demo:
        for text in texts:
            in_browser = demo.find(text)
            browser.append(demo.milliseconds())
            start = time.perf_counter()
            in_python = spans(find(text))
            python.append(1000 * (time.perf_counter() - start))
            agree += in_browser == in_python
            mentions += len(in_python)
        version = demo.page.context.browser.version
        if demo.trouble:
            raise SystemExit("\n".join(demo.trouble))
    loaded = {
        "model_mb": [args.student / "onnx" / QUANTIZED_NAME],
        "tokenizer_mb": [args.student / "tokenizer.json"],
        "page_mb": [path for path in DIST.iterdir() if path.is_file()],
    }
    sizes = {name: sum(path.stat().st_size for path in paths) / 1e6 for name, paths in loaded.items()}
    rows = [
        ["sentences", f"{len(texts)}"],
        ["with the same mentions in both", f"{agree}"],
        ["mentions", f"{mentions}"],
        [f"browser (Chromium {version}), median ms", f"{statistics.median(browser):.1f}"],
        ["Python, median ms", f"{statistics.median(python):.1f}"],
        *([f"{name.removesuffix('_mb')}, MB", f"{size:.1f}"] for name, size in sizes.items()),
    ]
    print(format_table(["one thread, int8", ""], rows))
    times = {"browser_ms": statistics.median(browser), "python_ms": statistics.median(python)}
    print_json({"agree": agree / len(texts)} | times | sizes)


if __name__ == "__main__":
    main()
