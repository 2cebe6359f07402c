// The page: from the microphone, a file or an example to an answer, and what is said when something goes wrong.

import { loudness, Recorder } from "./audio.js";
import { sharp, theme } from "./canvas.js";
import { clear, draw, show, wireResults } from "./results.js";
import { example, explain, health, Stream } from "./service.js";
import { Trouble } from "./trouble.js";
import { element, searchName } from "./words.js";

const RETRIES = 3; // times that a busy server is asked again by itself
const SHORTEST = 0.2; // seconds; a shorter recording is a slip of the finger

const MARGIN = 0.5; // seconds before the longest recording at which one ends by itself
const BEST = "joint"; // the search that the page proposes, for it has alternatives and is the most exact
const PLAIN = ["greedy", "ctc", "parallel"]; // searches that keep one beginning, hence have no alternatives

const byId = (id) => document.getElementById(id);
const megabytes = (bytes) => `${Number((bytes / 2 ** 20).toFixed(1))}\u00a0MB`;

let server = {}; // what /health said
let recorder = null;
let stream = null;
let waiting = null; // AbortController of the request on its way
let lastFile = null; // for Try again
let levels = [];

async function meet() {
  try {
    server = await health();
  } catch (error) {
    byId("model").textContent = "The server does not answer.";
    return tell(error);
  }
  const { model, parameters, searches, max_bytes: bytes, max_seconds: seconds, examples = [] } = server;
  const size = parameters ? `, ${(parameters / 1e6).toFixed(1)} million parameters` : "";
  byId("model").textContent = `It is ${model}${size}, and runs on ${location.hostname}.`;
  byId("search").replaceChildren(
    ...searches.map((search) => new Option(searchName(search), search)));
  if (searches.includes(BEST)) byId("search").value = BEST;
  offerAlternatives();
  byId("limits").textContent = `, up to ${megabytes(bytes)} and ${seconds}\u00a0s`;
  byId("elapsed-limit").textContent = `of at most ${seconds} s`;
  byId("examples").hidden = !examples.length;
  byId("example-list").replaceChildren(...examples.map((each) => {
    const button = element("button", { type: "button", className: "plain" }, each.text ?? each.name);
    button.addEventListener("click", () => take(example(each)));
    return element("li", {}, button);
  }));
}

/** Only a beam search has alternatives. */
function offerAlternatives() {
  byId("nbest").disabled = PLAIN.includes(byId("search").value);
}

async function toggleRecording() {
  if (recorder) return endRecording();
  quiet();
  waiting?.abort();
  recorder = new Recorder(heard);
  const own = recorder;
  byId("record").disabled = true;
  try {
    await own.start();
  } catch (error) {
    recorder = null;
    return tell(error);
  } finally {
    byId("record").disabled = false;
  }
  byId("record").focus(); // a disabled button loses it
  clear();
  levels = [];
  if (server.streaming) listenAlong(own.context.sampleRate);
  recordingShown(true);
  status("Recording. Press Stop when you have spoken.");
}

async function endRecording() {
  const own = recorder;
  recorder = null;
  recordingShown(false);
  const file = await own.stop();
  stream?.end();
  if (own.seconds < SHORTEST) {
    stream?.close();
    return tell(new Trouble("too-short", "That was too short to hear anything.", "Press Record, say a sentence, and press Stop."));
  }
  await recognise(file);
}

function recordingShown(on) {
  byId("record").classList.toggle("on", on);
  byId("record-label").textContent = on ? "Stop" : "Record";
  byId("recording").hidden = !on;
  byId("choose").disabled = on;
}

function heard(piece) {
  stream?.send(piece);
  if (!recorder) return;
  byId("elapsed").textContent = recorder.seconds.toFixed(1);
  levels.push(loudness(piece));
  drawLevels();
  if (recorder.seconds >= (server.max_seconds ?? Infinity) - MARGIN) endRecording().catch(tell);
}

function drawLevels() {
  const canvas = byId("level");
  const { clientWidth: width, clientHeight: height } = canvas;
  const context = sharp(canvas, width, height);
  context.fillStyle = theme().accent;
  const bars = Math.floor(width / 4);
  levels.slice(-bars).forEach((level, index) => {
    const tall = Math.max(2, level * height);
    context.fillRect(index * 4, (height - tall) / 2, 3, tall);
  });
}

/** Shows what the server makes of the sound while it is spoken. */
function listenAlong(sampleRate) {
  byId("live").hidden = false;
  write("", "");
  stream = new Stream(sampleRate, (message) => {
    if (message.type === "partial") write(message.stable, message.unstable);
    else if (message.type === "final") write(message.text ?? message.stable ?? "", "");
    else if (message.type === "error") write("", `No words while you speak: ${message.message}`);
  });
}

function write(stable, unstable) {
  byId("stable").textContent = stable ?? "";
  byId("unstable").textContent = unstable ?? "";
}

/** Takes a file, or the promise of one. */
async function take(promised) {
  quiet();
  clear();
  byId("live").hidden = true;
  try {
    const file = await promised;
    check(file);
    await recognise(file);
  } catch (error) {
    tell(error);
  }
}

/** What the page itself can see about a file, before it is sent. */
function check(file) {
  if (!file.size) throw new Trouble("empty", `The file ${file.name} is empty.`, "Choose a file with sound in it.");
  const most = server.max_bytes;
  if (most && file.size > most)
    throw new Trouble("too-large", `The file ${file.name} has ${megabytes(file.size)}; the server takes at most ${megabytes(most)}.`,
      "Cut it into shorter pieces, or save it as FLAC or Opus.");
}

async function recognise(file) {
  waiting?.abort();
  const own = new AbortController();
  [waiting, lastFile] = [own, file];
  quiet();
  busy(true);
  const nbest = byId("nbest");
  const options = { search: byId("search").value, nbest: nbest.disabled ? 0 : nbest.valueAsNumber };
  try {
    const answer = await patiently(() => explain(file, options, own.signal), own.signal);
    if (own.signal.aborted) return;
    byId("live").hidden = true;
    show(answer, file);
    status("Done: the transcript is below.");
  } catch (error) {
    if (!own.signal.aborted) tell(error);
    else if (waiting === own) status("Cancelled.");
  } finally {
    if (waiting === own) {
      waiting = null;
      busy(false);
    }
  }
}

/** Asks again after a while when the server says that it is busy. */
async function patiently(request, signal) {
  for (let turn = 1; ; turn++) {
    try {
      return await request();
    } catch (error) {
      if (error.status !== 429 || turn > RETRIES) throw error;
      const seconds = error.retryAfter || turn;
      status(`The server is busy; asking again in ${seconds} s (${turn} of ${RETRIES}).`);
      await new Promise((resolve, reject) => {
        setTimeout(resolve, 1000 * seconds);
        signal.addEventListener("abort", () => reject(signal.reason));
      });
    }
  }
}

function busy(on) {
  byId("working").hidden = !on;
  byId("results").ariaBusy = String(on);
  if (on) status("Recognising, and drawing what the model saw …");
}

function status(text) {
  byId("status").textContent = text;
}

function quiet() {
  byId("error").replaceChildren();
  byId("again").hidden = true;
  status("");
}

function tell(error) {
  if (error.name === "AbortError") return;
  const { message, remedy, again } =
    error instanceof Trouble ? error : new Trouble("page", "Something in this page went wrong.", `It says: ${error.message}`);
  if (!(error instanceof Trouble)) console.error(error);
  status("");
  byId("error").replaceChildren(
    element("p", { className: "notice" }, element("strong", {}, sentence(message)), remedy ? ` ${sentence(remedy)}` : ""));
  byId("again").hidden = !again;
}

/** The service's messages are made for a line of a terminal: here they begin and end as sentences do. */
function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.?!]\)?$/.test(text) ? "" : ".");
}

function wire() {
  byId("record").addEventListener("click", () => toggleRecording().catch(tell));
  byId("choose").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", ({ target }) => {
    if (target.files.length) take(target.files[0]);
    target.value = ""; // so that the same file can be chosen again
  });
  byId("search").addEventListener("change", offerAlternatives);
  byId("cancel").addEventListener("click", () => waiting?.abort());
  byId("retry").addEventListener("click", async () => {
    quiet();
    if (!server.model) await meet();
    if (lastFile) await recognise(lastFile);
  });
  // A file that misses its place must not replace the page.
  for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (event) => event.preventDefault());
  const drop = byId("drop");
  drop.addEventListener("dragover", () => drop.classList.add("over"));
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  window.addEventListener("drop", ({ dataTransfer }) => {
    drop.classList.remove("over");
    if (dataTransfer?.files.length && !recorder) take(dataTransfer.files[0]);
  });
  new ResizeObserver(draw).observe(byId("main"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  wireResults();
}

wire();
meet();
