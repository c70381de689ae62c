"""A server on loopback with the files and batches of an OpenAI-compatible API, and a ledger.

What it answers follows from the prompt alone. Each look at a batch moves it on, and the ways in
which one can end are set by the test. Standard library only.
"""

from __future__ import annotations

import contextlib
import email
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HTML = b"<!DOCTYPE html><html><body><h1>Back soon</h1></body></html>"
SPACED = "one line\u2028and its next"
Lines = list[dict[str, Any]]


def completion(body: dict[str, Any]) -> dict[str, Any]:
    """Return what the model says to a body."""
    prompt = body["messages"][-1]["content"]
    verdict = "yes" if int(hashlib.sha256(prompt.encode()).hexdigest(), 16) % 2 else "no"
    content = json.dumps({"effect": SPACED, "verdict": verdict}, ensure_ascii=False)
    return {
        "id": f"chatcmpl-{hashlib.sha256(prompt.encode()).hexdigest()[:8]}",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": len(prompt.split()), "completion_tokens": 5, "total_tokens": 0},
    }


def answered(request: dict[str, Any]) -> dict[str, Any]:
    """Return a line of results."""
    response = {"status_code": 200, "request_id": "r", "body": completion(request["body"])}
    return {"id": "b", "custom_id": request["custom_id"], "response": response, "error": None}


def ordinary(requests: Lines) -> tuple[Lines, Lines]:
    """Return the results and errors of a batch in which nothing goes wrong."""
    return [answered(r) for r in requests], []


@dataclass
class Script:
    """How the server behaves. ``wait`` holds every batch in progress until it is set."""

    looks: int = 2
    end: str = "completed"
    results: Callable[[Lines], tuple[Lines, Lines]] = ordinary
    errors: Lines = field(default_factory=list)
    create: str = ""  # "hang", "cut": what happens to the answer, after the batch was made
    refuse: Callable[[str, str], tuple[int, Any] | None] = lambda method, path: None
    edit: Callable[[bytes, int], bytes] = lambda content, fetched: content
    wait: threading.Event | None = None


class BatchServer:
    """What was uploaded and made, and how often each was asked for; of the key only if it fits."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.script = Script()
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.calls: Counter[str] = Counter()
        self.made = threading.Event()
        self.looked = threading.Event()
        self._looks: Counter[str] = Counter()
        self._turn = threading.RLock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._http.server_port}/v1"

    @contextlib.contextmanager
    def running(self) -> Iterator[BatchServer]:
        """Serve."""
        thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()
            thread.join()

    def asked(self, batch_id: str) -> list[str]:
        """Return the custom_ids of a batch, as they were uploaded."""
        text = self.files[self.batches[batch_id]["input_file_id"]].decode()
        return [json.loads(line)["custom_id"] for line in text.splitlines()]

    def upload(self, content: bytes) -> dict[str, Any]:
        """Keep a file."""
        with self._turn:
            name = f"file-{len(self.files) + 1}"
            self.files[name] = content
        return {"id": name, "object": "file", "bytes": len(content), "created_at": 1,
                "filename": "x.jsonl", "purpose": "batch", "status": "processed"}  # fmt: skip

    def make(self, said: dict[str, Any]) -> dict[str, Any]:
        """Make a batch of an uploaded file."""
        with self._turn:
            name = f"batch_{len(self.batches) + 1}"
            n = len(self.files[said["input_file_id"]].splitlines())
            self.batches[name] = {
                "id": name, "object": "batch", "created_at": 1, "status": "validating",
                "output_file_id": None, "error_file_id": "", "errors": None, **said,
                "request_counts": {"total": n, "completed": 0, "failed": 0},
            }  # fmt: skip
        self.made.set()
        return self.batches[name]

    def look(self, name: str) -> dict[str, Any]:
        """Move a batch on, and return it."""
        with self._turn:
            batch, script = self.batches[name], self.script
            self.looked.set()
            self._looks[name] += 1
            over = self._looks[name] > script.looks and (not script.wait or script.wait.is_set())
            if over and batch["status"] in ("validating", "in_progress"):
                self._end(batch)
            elif self._looks[name] > 1 and batch["status"] == "validating":
                batch["status"] = "in_progress"
            return batch

    def _end(self, batch: dict[str, Any]) -> None:
        batch["status"] = self.script.end
        if batch["status"] == "failed":
            batch["errors"] = {"object": "list", "data": self.script.errors}
            return
        text = self.files[batch["input_file_id"]].decode()
        good, bad = self.script.results([json.loads(line) for line in text.splitlines()])
        for kind, lines in (("output_file_id", good), ("error_file_id", bad)):
            if lines:
                # As real servers write them: letters as they are, U+2028 too.
                made = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
                batch[kind] = self.upload(made.encode())["id"]
        batch["request_counts"] |= {"completed": len(good), "failed": len(bad)}

    def listed(self, after: str) -> dict[str, Any]:
        """Return one page of the batches, two a page, newest first."""
        names = sorted(self.batches, key=lambda n: -int(n.split("_")[1]))
        start = names.index(after) + 1 if after else 0
        page = [self.batches[name] for name in names[start : start + 2]]
        return {"object": "list", "data": page, "has_more": start + 2 < len(names)}


def _handler(server: BatchServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self._serve("GET")

        def do_POST(self) -> None:
            self._serve("POST")

        def _serve(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path, _, query = self.path.removeprefix("/v1").partition("?")
            parts = path.strip("/").split("/")
            name = f"{method} {parts[0]}" + (" one" if len(parts) > 1 else "")
            server.calls[name] += 1
            if refused := server.script.refuse(method, path):
                self._say(*refused)
            elif self.headers.get("Authorization") != f"Bearer {server.key}":
                self._say(401, {"error": {"message": f"Incorrect key {server.key}",
                                          "code": "invalid_api_key"}})  # fmt: skip
            elif name == "POST files":
                kind = f"Content-Type: {self.headers['Content-Type']}\n\n".encode()
                form = email.message_from_bytes(kind + body).get_payload()
                fields = {part.get_param("name", header="content-disposition"): part
                          for part in form}  # type: ignore[union-attr]  # fmt: skip
                assert fields["purpose"].get_payload() == "batch", body[:300]
                content = fields["file"].get_payload(decode=True)
                self._say(200, server.upload(content))
            elif name == "POST batches":
                made = server.make(json.loads(body))
                if server.script.create == "hang":
                    threading.Event().wait(30)
                if server.script.create:
                    server.script.create = ""
                    self.close_connection = True
                    return
                self._say(200, made)
            elif name == "GET batches":
                after = dict(p.split("=") for p in query.split("&")).get("after", "")
                self._say(200, server.listed(after))
            elif name == "GET batches one" and parts[1] in server.batches:
                self._say(200, server.look(parts[1]))
            elif parts[-1] == "content" and parts[1] in server.files:
                content = server.script.edit(server.files[parts[1]], server.calls[path])
                server.calls[path] += 1
                self._say(200, content)
            else:
                self._say(404, {"error": {"message": "not found", "code": "not_found"}})

        def _say(self, status: int, said: Any) -> None:
            content = said if isinstance(said, bytes) else json.dumps(said).encode()
            kind = "text/html" if content == HTML else "application/json"
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(content)

    return Handler
