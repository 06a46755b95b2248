"""The tutorial's API: a shelf of books in memory, on the standard library alone.

    python3 examples/bookshelf/server.py [PORT]

RULE: it asks for the token `letmein`, so that the tutorial shows who holds it: the gate, and not the agent.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Lock
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

TOKEN: Final = "letmein"  # noqa: S105 - a tutorial's token, shown to its reader
NUMBERS = count(1)
LOCK = Lock()
SHELF: dict[int, dict[str, Any]] = {}


def put(book: dict[str, Any]) -> dict[str, Any]:
    with LOCK:
        kept = {"id": next(NUMBERS), **book}
        SHELF[kept["id"]] = kept
    return kept


class Shelf(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/books":
            query = parse_qs(url.query)
            order = query.get("order", ["title"])[0]
            books = sorted(SHELF.values(), key=lambda book: str(book.get(order, "")))
            self.answer(200, {"books": books[: int(query.get("limit", ["20"])[0])]})
        elif book := SHELF.get(self.wanted(url.path)):
            self.answer(200, book)
        else:
            self.answer(404, {"error": "there is no such book"})

    def do_POST(self) -> None:
        book = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(201, put(book) if self.known() else None)

    def do_DELETE(self) -> None:
        with LOCK:
            gone = SHELF.pop(self.wanted(self.path), None) if self.known() else None
        self.answer(204, None) if gone else self.answer(404, {"error": "there is no such book"})

    def wanted(self, path: str) -> int:
        number = path.removeprefix("/books/")
        return int(number) if number.isdecimal() else 0

    def known(self) -> bool:
        return self.headers["Authorization"] == f"Bearer {TOKEN}"

    def answer(self, status: int, value: Any) -> None:
        if not self.known():
            status, value = 401, {"error": "who are you?"}
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        if value is not None:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        print(format % args)


if __name__ == "__main__":
    put({"title": "The Mill on the Floss", "author": "George Eliot", "year": 1860})
    put({"title": "Invisible Cities", "author": "Italo Calvino", "year": 1972})
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8490), Shelf).serve_forever()
