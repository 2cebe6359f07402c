"""The page of the service in a real browser: a fake microphone that plays a TinySpeech file, files, keys, errors.

One service and one Chromium for the whole file. Without Chromium the tests are skipped on a developer's machine and
fail where CI is set.
"""

import base64
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile

from asr_tutorial.audio import read_audio
from asr_tutorial.metrics import error_counts

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = REPOSITORY / "asr_tutorial" / "serve" / "page"
SPOKEN = REPOSITORY / "data" / "tinyspeech" / "test" / "156" / "1156" / "156-1156-0003.opus"
TEXT = "LUCY HAS FOUR BROTHERS AND FOUR SISTERS"
MOST_BYTES = 2_000_000
MOST_SECONDS = 40
MOST_WRONG = 0.3  # two words of seven: a busy machine loses samples of the fake microphone
MINUS = "\N{MINUS SIGN}"
CLOSE_SECONDS = 15
PATIENCE_SECONDS = 40
REFUSED = re.compile(r"Failed to load resource.*(status of (4|5)\d\d|net::ERR_)")


@pytest.fixture(scope="module")
def chromium():
    """Path of a Chromium."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        message = "NO CHROMIUM: the web page is NOT tested; install it, for example: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


class Service:
    """A service in a process of its own, at ``url``."""

    def start(self, port=0):
        # Python and not the script: the code of this checkout, whatever is installed.
        command = [sys.executable, "-m", "asr_tutorial", "serve", "--checkpoint", "data/pretrained/tinyspeech"]
        command += ["--port", str(port), "--max-bytes", str(MOST_BYTES), "--max-seconds", str(MOST_SECONDS)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert found, f"the service did not start: {line}"
        self.url = found[0]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(CLOSE_SECONDS)
        finally:
            self.process.kill()
            self.process.stdout.close()


@pytest.fixture(scope="module")
def service():
    service = Service()
    service.start()
    yield service
    service.stop()


@pytest.fixture(scope="module")
def browser(chromium, tmp_path_factory):
    """Chromium whose microphone plays one sentence and is silent afterwards."""
    from playwright.sync_api import sync_playwright

    voice = tmp_path_factory.mktemp("page") / "voice.wav"
    samples = read_audio(SPOKEN, 48_000)
    soundfile.write(voice, np.pad(samples, (12_000, 48_000)), 48_000, subtype="PCM_16")
    arguments = [
        "--no-sandbox",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={voice}%noloop",
        "--autoplay-policy=no-user-gesture-required",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, service):
    """A function that opens the page; afterwards its console must be free of errors and its requests local."""
    contexts, console, addresses = [], [], []

    def open_page(microphone=True, **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(1000 * PATIENCE_SECONDS)
        if microphone:
            context.grant_permissions(["microphone"])
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: console.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: console.append(str(error)))
        page.on("request", lambda request: addresses.append(request.url))
        page.on("websocket", lambda socket: addresses.append(socket.url))
        page.goto(service.url)
        page.get_by_text("tinyspeech").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    # That a request was refused is what the tests of errors are about, and the browser notes each one.
    assert [text for text in console if not REFUSED.search(text)] == []
    assert {urlsplit(url).hostname for url in addresses if not url.startswith("blob:")} == {"127.0.0.1"}


def until(page, condition):
    """Wait for an expression to become true. Playwright's own way is forbidden by the page's security policy."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, f"never came true: {condition}"
        page.wait_for_timeout(30)


def wer(text):
    return error_counts([TEXT], [text]).rate


def heard(page):
    """The transcript, when it has come."""
    page.get_by_role("heading", name="What it heard").wait_for()
    return page.locator("#transcript").inner_text()


def drop(page, name, content):
    """Drop a file on the page as a hand does."""
    script = """([name, content]) => {
      const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
      const transfer = new DataTransfer();
      transfer.items.add(new File([bytes], name));
      return transfer;
    }"""
    transfer = page.evaluate_handle(script, [name, base64.b64encode(content).decode()])
    for kind in ("dragover", "drop"):
        page.dispatch_event("#drop", kind, {"dataTransfer": transfer})


def alert(page):
    """What the page says is wrong."""
    page.locator("#error p").wait_for()
    return page.get_by_role("alert").inner_text()


def test_what_is_spoken_into_the_microphone_is_written_and_explained(open_page):
    page = open_page()
    page.evaluate(WATCH)
    page.get_by_role("button", name="Record").click()
    until(page, "Number(document.querySelector('#elapsed').textContent) > 3.7")
    partials = page.evaluate("seen.partials")
    page.get_by_role("button", name="Stop").click()

    assert wer(heard(page)) <= MOST_WRONG
    assert min(map(wer, partials), default=1) <= 0.5, f"little was written while it was spoken: {partials}"
    # The player holds what was recorded: the sentence and its silence.
    until(page, "document.querySelector('#player').duration > 3.5")
    for name in ("Mel picture", "CTC posteriors", "Cross-attention"):
        assert page.get_by_role("img", name=name).evaluate(INKED), f"{name} is blank"
    assert "BROTHERS from" in page.get_by_role("img", name="Mel picture").get_attribute("aria-label")
    searches = page.locator("#comparison li").all_inner_texts()
    assert any(text.startswith("greedy") for text in searches)
    assert any(text.startswith("joint") for text in searches)
    assert any("--lm" in text for text in searches), "why there is no language model"


# Keeps what is there for a moment only: words before the recording ends, and words that light up.
WATCH = """() => {
  globalThis.seen = {partials: [], lit: []};
  const keep = () => {
    seen.partials.push(document.querySelector("#partial").innerText);
    seen.lit.push(...[...document.querySelectorAll("#words .now b")].map((word) => word.textContent));
  };
  new MutationObserver(keep).observe(document.body, {subtree: true, childList: true, attributeFilter: ["class"]});
}"""

# Whether the middle of a canvas, where no axis and no letter is, holds a picture.
INKED = """(canvas) => {
  const [x, y] = [canvas.width * 0.3, canvas.height * 0.4].map(Math.round);
  const {data} = canvas.getContext("2d").getImageData(x, y, x, Math.round(canvas.height * 0.2));
  return new Set(new Uint32Array(data.buffer)).size >= 12;
}"""


def test_a_dropped_file_is_recognised_and_its_words_light_up_as_they_are_played(open_page):
    page = open_page()
    drop(page, SPOKEN.name, SPOKEN.read_bytes())
    assert heard(page) == TEXT
    words = page.locator("#words button")
    assert [word.locator("b").inner_text() for word in words.all()] == TEXT.split()
    page.evaluate(WATCH)
    page.get_by_role("button", name="BROTHERS").click()
    until(page, "seen.lit.includes('BROTHERS')")
    assert page.locator("#playhead").is_visible()
    until(page, "document.querySelector('#player').paused")  # a word alone, not the rest
    assert set(page.evaluate("seen.lit")) == {"BROTHERS"}
    assert page.evaluate("document.querySelector('#player').currentTime") < 1.8
    # Best first, each with its score and what is different about it.
    alternatives = page.locator("#alternatives li")
    text = " ".join(alternatives.all_inner_texts())
    scores = [float(score.replace(MINUS, "-")) for score in re.findall(rf"score ({MINUS}?[\d.]+)", text)]
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)
    assert alternatives.first.locator("mark").count() == 0
    assert all(each.locator("mark, .missing").count() for each in alternatives.all()[1:])
    # Another file takes its place.
    tone = 0.1 * np.sin(np.arange(16_000))
    page.set_input_files("#file", {"name": "tone.wav", "mimeType": "audio/wav", "buffer": wav(tone)})
    until(page, f"document.querySelector('#transcript').textContent !== '{TEXT}'")


def wav(samples, rate=16_000):
    """Samples as the bytes of a WAV file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def test_a_recording_too_long_for_pictures_is_still_written_down(open_page, tmp_path):
    path = tmp_path / "long.flac"
    soundfile.write(path, np.pad(read_audio(SPOKEN, 16_000), (0, 16_000 * 29)), 16_000)
    page = open_page()
    drop(page, path.name, path.read_bytes())
    assert "LUCY" in heard(page)
    assert "too long for pictures" in page.locator("#facts").inner_text()
    assert not page.get_by_role("heading", name="Where each token was heard").is_visible()


def test_everything_can_be_done_with_the_keyboard(open_page):
    page = open_page()

    def focused():
        return page.evaluate("document.activeElement.innerText || document.activeElement.id")

    def tab_to(name, most=25):
        for _ in range(most):
            page.keyboard.press("Tab")
            if name in focused():
                return
        pytest.fail(f"Tab does not lead to {name}")

    page.keyboard.press("Tab")
    assert focused() == "Skip to the recorder"
    page.keyboard.press("Enter")
    tab_to("Record", most=2)
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none", "where the focus is must be seen"
    page.keyboard.press("Enter")
    until(page, "Number(document.querySelector('#elapsed').textContent) > 0.5")
    assert focused() == "Stop"
    until(page, "Number(document.querySelector('#elapsed').textContent) > 3.6")
    page.keyboard.press("Space")
    assert wer(heard(page)) <= MOST_WRONG
    tab_to("Choose a sound file", most=2)
    with page.expect_file_chooser():
        page.keyboard.press("Enter")
    tab_to("LUCY")
    page.evaluate(WATCH)
    page.keyboard.press("Enter")
    until(page, "seen.lit.includes('LUCY')")
    tab_to("The same as a table")
    page.keyboard.press("Space")
    assert page.get_by_role("columnheader", name="probability at its peak").is_visible()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("corrupt.flac", b"fLaC" + bytes(range(256)), "cannot be read|not audio|no audio|cannot read"),
        ("text.wav", b"this is no sound", "cannot be read|not audio|no audio|cannot read"),
        ("<b>empty</b>.wav", b"", "The file <b>empty</b>.wav is empty"),
        ("large.wav", bytes(3 * 2**20), "has 3\\s?MB; the server takes at most 1.9"),
        ("long.flac", "silence", "too long"),
        ("short.wav", wav(np.zeros(80)), "at least|too short"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_a_reason_and_a_remedy(open_page, tmp_path, name, content, said):
    if content == "silence":
        path = tmp_path / name
        soundfile.write(path, np.zeros(16_000 * (MOST_SECONDS + 1)), 16_000)
        content = path.read_bytes()
    page = open_page()
    drop(page, name, content)
    text = alert(page)
    assert re.search(said, text), text
    assert text.count(".") >= 2, f"what is wrong, and what to do: {text}"
    assert not page.locator("#results").is_visible()
    # The page is as good as new afterwards.
    drop(page, SPOKEN.name, SPOKEN.read_bytes())
    assert heard(page) == TEXT
    assert page.get_by_role("alert").inner_text() == ""


def test_a_microphone_that_is_not_allowed_is_explained(open_page):
    page = open_page(microphone=False)
    page.get_by_role("button", name="Record").click()
    text = alert(page)
    assert "not allowed" in text
    assert "choose a file" in text
    assert page.get_by_role("button", name="Record").is_enabled()


def test_a_recording_of_nothing_is_not_sent(open_page):
    page = open_page()
    # Stop as soon as it can be pressed.
    page.evaluate("""() => {
      const record = document.querySelector("#record");
      const press = () => document.querySelector("#record-label").textContent === "Stop" && record.click();
      new MutationObserver(press).observe(record, {subtree: true, childList: true});
      record.click();
    }""")
    assert "too short" in alert(page)


def test_a_busy_server_is_asked_again_and_a_stopping_one_on_request(open_page):
    page = open_page()
    answers = [(429, "queue_full"), (503, "stopping")]

    def refuse(route):
        status, code = answers.pop(0)
        body = {"error": {"code": code, "message": f"refused: {code}", "remedy": "send it again"}}
        route.fulfill(status=status, headers={"Retry-After": "1"}, json=body)
        if not answers:
            page.unroute("**/explain")

    page.route("**/explain", refuse)
    drop(page, SPOKEN.name, SPOKEN.read_bytes())
    page.get_by_role("status").get_by_text("busy").wait_for()
    assert "stopping" in alert(page)
    page.get_by_role("button", name="Try again").click()
    assert heard(page) == TEXT


def test_a_server_that_is_gone_is_explained_and_found_again(open_page, service):
    page = open_page()
    service.stop()
    drop(page, SPOKEN.name, SPOKEN.read_bytes())
    text = alert(page)
    assert "does not answer" in text
    assert "asr-tutorial serve" in text
    service.start(urlsplit(service.url).port)
    page.get_by_role("button", name="Try again").click()
    assert heard(page) == TEXT


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_the_page_fits_its_window_and_says_what_each_part_is(open_page, width, scheme):
    page = open_page(viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce")
    drop(page, SPOKEN.name, SPOKEN.read_bytes())
    heard(page)
    assert page.evaluate("document.documentElement.scrollWidth") == width, "the page scrolls sideways"
    small = page.eval_on_selector_all(
        "button, select, summary",
        """(all) => all.filter((each) => each.offsetParent && each.offsetHeight < 24).map((each) => each.outerHTML)""",
    )
    assert small == [], "too small to be hit with a finger"
    nodes = accessibility_tree(page)
    roles = {node["role"]["value"] for node in nodes}
    assert {"main", "banner", "contentinfo", "alert", "status"} <= roles
    nameless = [
        node["role"]["value"]
        for node in nodes
        if node["role"]["value"] in ("button", "combobox", "spinbutton", "image", "link", "region", "table")
        and not node.get("name", {}).get("value")
        and not node["ignored"]
    ]
    assert nameless == []
    levels = page.eval_on_selector_all("h1, h2, h3", "(all) => all.map((each) => Number(each.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.locator("#transcript").get_attribute("aria-live") == "polite"


def accessibility_tree(page):
    """What a screen reader is given."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    return [node for node in nodes if not node["ignored"]]


def test_texts_stand_out_from_their_ground_in_both_schemes():
    style = (PAGE / "style.css").read_text(encoding="utf-8")
    schemes = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", part)) for part in style.split("@media")[:2]]
    assert len(schemes[0]) == len(schemes[1]) > 10
    pairs = [(text, ground) for text in ("ink", "soft", "accent", "wrong") for ground in ("card", "back")]
    pairs += [("on-accent", "accent"), ("wrong", "wrong-back"), ("ink", "wrong-back"), ("ink", "mark-back")]
    pairs += [("ink", "tint"), ("accent", "tint"), ("soft", "tint")]
    for scheme in schemes:
        for text, ground in pairs:
            assert contrast(scheme[text], scheme[ground]) >= 4.5, (text, ground, scheme)
        # Edges of buttons and bars, WCAG 2.2, 1.4.11.
        assert contrast(scheme["edge"], scheme["card"]) >= 3, scheme


def contrast(first, second):
    """WCAG 2.2: ratio of relative luminances, 1 to 21."""

    def luminance(colour):
        channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_the_page_needs_nothing_from_elsewhere_and_nothing_inline():
    markup = (PAGE / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", markup) == []
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8")
        addresses = set(re.findall(r"https?://[^\s\"'`<)]+", text)) - {"http://www.w3.org/2000/svg", "http://localhost"}
        assert addresses == set(), path.name
        assert len(text.splitlines()) <= 400, path.name


def test_a_wav_file_made_in_the_page_holds_what_was_heard(open_page):
    page = open_page()
    samples = [0.0, 0.5, -0.5, 1.0, -1.0, 1.5]
    script = """async (samples) => {
      const { encodeWav } = await import("/static/audio.js");
      const pieces = [samples.slice(0, 2), samples.slice(2)].map((piece) => Float32Array.from(piece));
      return [...new Uint8Array(encodeWav(pieces, 44100))];
    }"""
    read, rate = soundfile.read(io.BytesIO(bytes(page.evaluate(script, samples))))
    assert rate == 44_100
    np.testing.assert_allclose(read, np.clip(samples, -1, 1), atol=1e-4)


def test_differences_are_those_of_the_shortest_edit(open_page):
    page = open_page()
    script = """async (pairs) => {
      const { differences } = await import("/static/words.js");
      return pairs.map(([reference, text]) => differences(reference, text).map(({ kind, word }) => `${kind} ${word}`));
    }"""
    pairs = [["A B C", "A B C"], ["A B C", "A X C"], ["A B C", "A C"], ["A C", "A B C"], ["A", ""], ["", "A"]]
    assert page.evaluate(script, pairs) == [
        ["same A", "same B", "same C"],
        ["same A", "other X", "same C"],
        ["same A", "missing B", "same C"],
        ["same A", "other B", "same C"],
        ["missing A"],
        ["other A"],
    ]
