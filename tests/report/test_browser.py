"""The page in headless Chromium: the script runs to its end without an error, and nothing gets in."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from dtm.report import render

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed to open the page in")

PROBE = """<script>
const errors = [];
window.onerror = (message) => errors.push(message);
window.addEventListener("load", () => {
  const area = document.querySelector(".area"), box = area.getBoundingClientRect();
  const move = (share) => area.dispatchEvent(new PointerEvent("pointermove",
    {clientX: box.left + share * box.width, clientY: box.top + box.height / 2, bubbles: true}));
  const shapes = [document.querySelector("path.bold").getAttribute("d")];
  for (const button of document.querySelectorAll(".controls button, .toggles li:first-child button")) {
    button.click(); move(0.2); move(0.9);
    shapes.push(document.querySelector("path.bold").getAttribute("d"));
  }
  document.title = JSON.stringify({errors, shapes: new Set(shapes).size,
    tip: document.querySelector(".tip").textContent,
    wide: document.documentElement.scrollWidth - window.innerWidth, pwned: window.pwned ?? null});
});
</script>"""


def opened(path, *options):
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
               "--disable-background-networking", "--virtual-time-budget=3000", "--dump-dom", *options,
               path.as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_it_opens_without_an_error_under_its_own_policy(results, poisoned, tmp_path):
    dom, console = opened(render(poisoned(results), tmp_path))
    assert console == []
    # the script's last act is to show the controls
    assert '<div class="controls">' in dom
    assert dom.count("<script") == 2


def test_every_control_redraws_and_the_cursor_reads(results, poisoned, tmp_path):
    path = render(poisoned(results, " <b onclick=x>"), tmp_path)
    text = path.read_text(encoding="utf-8")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', PROBE, text, count=1)
    path.write_text(text, encoding="utf-8")
    dom, console = opened(path, "--window-size=1280,900")
    title = re.search(r"<title>(.*?)</title>", dom).group(1)
    assert console == []
    assert '"errors":[]' in title
    assert '"pwned":null' in title
    assert int(re.search(r'"shapes":(\d+)', title).group(1)) >= 5
    assert re.search(r'"tip":"epoch 0\.9gradient norm.*vanilla_sft &lt;b onclick=x&gt;\d', title)
    assert int(re.search(r'"wide":(-?\d+)', title).group(1)) <= 0


def test_a_large_run_does_not_break_a_narrow_layout(make_results, tmp_path):
    path = render(make_results(k=64, tasks=30, sources=14), tmp_path)
    text = path.read_text(encoding="utf-8")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', PROBE, text, count=1)
    path.write_text(text, encoding="utf-8")
    for width in (1280, 500):  # Chromium's windows are no narrower
        dom, console = opened(path, f"--window-size={width},900")
        title = re.search(r"<title>(.*?)</title>", dom).group(1)
        assert console == []
        assert '"errors":[]' in title
        assert int(re.search(r'"wide":(-?\d+)', title).group(1)) <= 0
