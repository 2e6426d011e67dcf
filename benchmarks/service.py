"""The service of docs/clients.md under load, which runs already (`uvicorn service:app`).

    python benchmarks/service.py --student student --text unlabeled.txt

Each of --clients sends one text after another, as soon as the one before is answered, over a connection of its own.
Prints answers per second, the time of an answer in ms (median, and 99th percentile in brackets), and how many failed or
are not those of the `Tagger` (scores to 0.0001).
"""

import argparse
import asyncio
import json
import time
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from hf_distill import Tagger

REQUEST = "POST /mentions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", required=True)
    parser.add_argument("--text", required=True, help="a text a line, of which the first 500 are sent")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    args = parser.parse_args()
    texts = Path(args.text).read_text(encoding="utf-8").splitlines()[:500]
    find = Tagger.from_pretrained(args.student)
    expected = {text: find(text) for text in texts}
    times, wrong = asyncio.run(load(args, expected))
    median, late = 1000 * np.percentile(times, [50, 99])
    print(
        f"{len(times) / args.seconds:.0f} answers a second, {median:.0f} ms ({late:.0f}); {wrong} of {len(times)} wrong"
    )


async def load(args: argparse.Namespace, expected: dict[str, list[dict]]) -> tuple[list[float], int]:
    """Return the seconds that each answer took, and how many were wrong."""
    times: list[float] = []
    wrong = 0
    end = time.perf_counter() + args.seconds

    async def client(number: int) -> None:
        nonlocal wrong
        reader, writer = await asyncio.open_connection("localhost", args.port)
        for text in islice(cycle(expected), number, None):
            start = time.perf_counter()
            if start > end:
                writer.close()
                return
            body = json.dumps([text]).encode()
            writer.write(REQUEST.format(len(body)).encode() + body)
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            answer = json.loads(await reader.readexactly(int(head.split("content-length: ")[1].split()[0])))
            times.append(time.perf_counter() - start)
            wrong += not (head.split()[1] == "200" and alike(answer[0], expected[text]))

    await asyncio.gather(*map(client, range(args.clients)))
    return times, wrong


def alike(found: list[dict], expected: list[dict]) -> bool:
    """Whether mentions are the same, but for the last digits of their scores."""
    return len(found) == len(expected) and all(
        one | {"score": 0} == other | {"score": 0} and abs(one["score"] - other["score"]) < 1e-4
        for one, other in zip(found, expected, strict=True)
    )


if __name__ == "__main__":
    main()
