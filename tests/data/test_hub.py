"""The hub's part is played by a server here: the hub's own client and `datasets` talk to it over HTTP."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

import pytest

COMMITS = {"main": "0" * 40, "old": "1" * 40}
FILES = {
    commit: {f"data/{split}.jsonl": "".join(
        json.dumps({"instruction": f"{name} {split} {n}", "output": "a"}) + "\n" for n in range(5)).encode()
        for split in ("train", "test")}
    for name, commit in COMMITS.items()
}  # fmt: skip
API, PLAIN = "/api/datasets/owner/name", "/datasets/owner/name/resolve/"


def entry(files, name):
    return {
        "type": "file",
        "path": name,
        "size": len(files[name]),
        "oid": hashlib.sha1(files[name]).hexdigest(),
    }


class Hub(BaseHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing."""

    def answer(self, code, body=b"", **headers):
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, value):
        self.answer(200, json.dumps(value).encode(), Content_Type="application/json")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        wanted = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]
        files = FILES[urlparse(self.path).path.rsplit("/", 1)[1]]
        self.json([entry(files, name) for name in wanted if name in files])

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = urlparse(self.path).path
        if path.startswith(f"{API}/tree/"):
            commit, _, folder = path.removeprefix(f"{API}/tree/").partition("/")
            here = [entry(FILES[commit], name) for name in FILES[commit]]
            self.json(here if folder == "data" else [{"type": "directory", "path": "data", "oid": "0" * 40}])
        elif path.startswith(PLAIN):
            commit, _, name = path.removeprefix(PLAIN).partition("/")
            data = FILES[commit].get(name)
            if data is None:
                self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
            else:
                self.answer(200, data, ETag=f'"{hashlib.sha1(data).hexdigest()}"', X_Repo_Commit=commit)
        elif path == API or path.startswith(f"{API}/revision/"):
            said = path.rsplit("/", 1)[1] if path != API else "main"
            commit = COMMITS.get(said, said)
            if commit not in FILES:
                self.answer(404, X_Error_Code="RevisionNotFound")
            else:
                siblings = [{"rfilename": name} for name in FILES[commit]]
                self.json({"id": "owner/name", "sha": commit, "siblings": siblings, "private": False})
        else:
            self.answer(401, X_Error_Code="RepoNotFound")


SESSION = """
import json, sys
from pathlib import Path
from dtm.data import load, resolve
from dtm.foundations.errors import DtmError
from dtm.foundations.store import Digests

here, answers = Path(sys.argv[1]), []
for entry in json.loads(sys.argv[2]):
    try:
        sources = resolve([{"path": "owner/name", **entry}], here)
        found = sources[0].fingerprint(Digests(here / "digests.sqlite"))
        examples, card = load(sources, 0, here / "dropped.jsonl")
        answers.append([found["hub"]["commit"], card["sources"][0]["commit"],
                        [messages[0]["content"] for messages in examples.column("messages")]])
    except DtmError as error:
        answers.append([type(error).__name__, error.message])
print(json.dumps(answers))
"""


@pytest.fixture
def ask(tmp_path):
    """Load hub entries in a process of their own, for the client reads its settings when it is imported."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def ask(*entries, **settings):
        environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
                       "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1", **settings}  # fmt: skip
        done = subprocess.run([sys.executable, "-c", SESSION, str(tmp_path), json.dumps(entries)],
                              env=environment, capture_output=True, text=True, timeout=120)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    yield ask
    server.shutdown()
    server.server_close()


def test_a_hub_id_is_pinned_to_its_commit_and_mistakes_are_told(ask):
    main, old, test, revision, split, subset, other = ask(
        {}, {"revision": "old"}, {"split": "test"}, {"revision": "gone"}, {"split": "tset"}, {"subset": "x"},
        {"path": "owner/other"})  # fmt: skip
    assert main == ["0" * 40, "0" * 40, [f"main train {n}" for n in range(5)]]
    assert old == ["1" * 40, "1" * 40, [f"old train {n}" for n in range(5)]]
    assert test == ["0" * 40, "0" * 40, [f"main test {n}" for n in range(5)]]
    assert revision[0] == other[0] == "MissingInput"
    assert "`revision`" in revision[1]
    assert "owner/other" in other[1]
    assert split[0] == subset[0] == "DataError"
    assert "tset" in split[1]


def test_offline_the_commit_that_was_fetched_is_there_and_no_other_passes_for_it(ask):
    [main] = ask({})
    pinned, other, moving = ask({"revision": "0" * 40}, {"revision": "1" * 40}, {}, HF_HUB_OFFLINE="1")
    assert pinned == main
    assert other[0] == moving[0] == "MissingInput"
    assert "its cache holds commit 000" in other[1]
    assert "offline" in moving[1]


def test_a_hub_that_does_not_answer(ask):
    [answer] = ask({}, HF_ENDPOINT="http://127.0.0.1:9")
    assert answer[0] == "MissingInput"
    assert "no file or folder here" in answer[1]
