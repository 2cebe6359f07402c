// Shows one answer of the service: words in time, pictures, searches, alternatives.

import {
  drawAttention, drawMel, drawPosteriors, lookOf, peakProbability, pictureWidth, placeOf, sayAttention, sayMel,
  sayPosteriors, secondsAt, spoken, WITH_LETTERS, WITH_MARKS,
} from "./pictures.js";
import { element, marked, searchName, table } from "./words.js";

const DOUBT = 0.5; // words below this confidence are called unsure
// A CTC token is heard late in its sound: a word alone is played from a little earlier to a little later.
const BEFORE = 0.15;
const AFTER = 0.1;

const byId = (id) => document.getElementById(id);
const percent = (share) => `${Math.round(100 * share)} %`;
const figure = (score) => score.toFixed(2).replace("-", "−");

let answer = null; // what is shown
let sound = null; // address of the sound in the player
let alone = null; // the word that is played by itself: its index, and seconds at which the player pauses
let buttons = []; // of the words

/** Shows an answer and the sound that it is about. */
export function show(newAnswer, file) {
  answer = { ...newAnswer, seconds: Math.max(newAnswer.duration, 0.1) };
  byId("results").hidden = false;
  load(file);
  showTranscript();
  byId("alignment-card").hidden = !answer.mel; // a long recording has no pictures
  byId("attention-card").hidden = !answer.attention; // neither has a decoder that writes all tokens at once
  if (answer.mel) showTokens();
  if (answer.attention) showAttentionWords();
  showComparison();
  showAlternatives();
  draw();
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  byId("transcript").scrollIntoView({ block: "nearest", behavior: still ? "auto" : "smooth" });
}

export function clear() {
  answer = null;
  byId("player").pause();
  byId("results").hidden = true;
}

/** Draws the pictures anew, for another width of the window or other colours. */
export function draw() {
  if (!answer?.mel) return;
  const width = pictureWidth(byId("alignment-scroll"), answer.seconds, WITH_LETTERS);
  byId("strip").style.setProperty("width", `${width}px`);
  drawMel(byId("mel"), answer, width);
  drawPosteriors(byId("posteriors"), answer, width);
  placePlayhead();
  if (answer.attention)
    drawAttention(byId("attention"), answer, pictureWidth(byId("attention-scroll"), answer.seconds, WITH_MARKS));
}

/** Once, when the page is there. */
export function wireResults() {
  const player = byId("player");
  player.addEventListener("play", follow);
  player.addEventListener("pause", follow);
  player.addEventListener("seeked", placePlayhead);
  player.addEventListener("error", () => {
    if (!player.getAttribute("src")) return;
    byId("player-note").textContent = "The server understood this file, but this browser cannot play its format.";
    byId("player-note").hidden = false;
  });
  for (const canvas of [byId("mel"), byId("posteriors")])
    canvas.addEventListener("click", (event) => {
      player.currentTime = secondsAt(event.offsetX, canvas.clientWidth, answer.seconds);
    });
}

function load(file) {
  if (sound) URL.revokeObjectURL(sound);
  sound = URL.createObjectURL(file);
  alone = null;
  byId("player-note").hidden = true;
  byId("player").src = sound;
}

function showTranscript() {
  byId("transcript").textContent = answer.text || "(nothing that sounds like words)";
  byId("transcript").classList.toggle("nothing", !answer.text);
  const facts = [`${answer.duration.toFixed(1)} s of sound`];
  if (answer.timing?.total_ms) facts.push(`heard and explained in ${(answer.timing.total_ms / 1000).toFixed(2)} s`);
  if (answer.search) facts.push(searchName(answer.search));
  if (answer.text && answer.confidence != null) facts.push(`confidence ${percent(answer.confidence)}`);
  if (!answer.mel) facts.push("too long for pictures: the text alone");
  byId("facts").textContent = facts.join(" · ");
  buttons = answer.words.map(wordButton);
  byId("words").replaceChildren(...buttons.map((button) => element("li", {}, button)));
}

function wordButton({ word, start, end, confidence }, index) {
  const doubt = confidence < DOUBT;
  const timed = start != null; // a text that is too long for its sound has no times
  const bar = element("i");
  bar.style.setProperty("--share", percent(confidence).replace(" ", ""));
  const button = element("button", { type: "button", className: doubt ? "word doubt" : "word" },
    element("b", {}, word),
    element("small", {}, timed ? `${start.toFixed(2)}–${end.toFixed(2)} s` : "no time"),
    element("small", {}, doubt ? `unsure, ${percent(confidence)}` : percent(confidence)),
    element("span", { className: "sure", ariaHidden: "true" }, bar));
  const when = timed ? `${start.toFixed(2)} to ${end.toFixed(2)} seconds` : "time unknown";
  button.ariaLabel = `${word}, ${when}, ${doubt ? "unsure, " : ""}confidence ${percent(confidence)}`;
  button.disabled = !timed;
  button.addEventListener("click", () => {
    const player = byId("player");
    player.currentTime = Math.max(0, start - BEFORE);
    alone = { index, until: end + AFTER };
    player.play().catch(() => {}); // a format that cannot be played is told by the player's note
  });
  return button;
}

/** While the sound plays: the word that is spoken is lit up, and a line runs over the pictures. */
function follow() {
  if (!answer) return;
  const player = byId("player");
  const now = player.currentTime;
  if (now >= alone?.until) player.pause();
  const current = alone?.index ?? answer.words.findLastIndex(({ start }) => start != null && now >= start - BEFORE);
  buttons.forEach((button, index) => {
    const { end } = answer.words[index];
    const until = Math.max(end, (answer.words[index + 1]?.start ?? 0) - BEFORE);
    button.classList.toggle("now", index === current && !player.paused && now < until);
  });
  placePlayhead();
  if (player.paused) alone = null;
  else requestAnimationFrame(follow);
}

function placePlayhead() {
  if (!answer?.mel) return;
  const { currentTime, paused, duration } = byId("player");
  const line = byId("playhead");
  line.hidden = paused && (currentTime === 0 || currentTime >= duration);
  line.style.setProperty("transform", `translateX(${placeOf(Math.min(currentTime, answer.seconds), byId("strip").clientWidth, answer.seconds)}px)`);
}

function showTokens() {
  const { alignment } = answer;
  byId("mel").ariaLabel = sayMel(answer);
  byId("posteriors").ariaLabel = sayPosteriors(answer);
  byId("token-table").replaceChildren(table(["token", "from (s)", "to (s)", "probability at its peak"],
    (alignment.tokens ?? []).map(({ token, start, end }, index) => [
      spoken(token), start.toFixed(2), end.toFixed(2), peakProbability(alignment, index).toFixed(2),
    ])));
}

function showAttentionWords() {
  byId("attention").ariaLabel = sayAttention(answer);
  byId("attention-table").replaceChildren(table(["token", "looks most at (s)"],
    answer.attention.tokens.map((token, row) => [spoken(token), lookOf(answer.attention, row).toFixed(2)])));
}

function showComparison() {
  const rows = answer.comparison ?? [];
  byId("comparison-card").hidden = !rows.length;
  byId("comparison").replaceChildren(...rows.map(({ search, text, score, ms, reason }) => {
    if (text == null)
      return element("li", {}, element("div", { className: "head" }, element("b", {}, searchName(search))), element("p", { className: "soft" }, reason ?? "not available"));
    const figures = [score != null && `score ${figure(score)}`, ms != null && `${Math.round(ms)} ms`].filter(Boolean).join(", ");
    return element("li", {},
      element("div", { className: "head" }, element("b", {}, searchName(search)), element("span", {}, figures)),
      marked(answer.text, text));
  }));
}

function showAlternatives() {
  const texts = answer.nbest ?? [];
  byId("nbest-note").hidden = texts.length > 1;
  byId("alternatives").replaceChildren(...texts.map(({ text, score }, index) =>
    element("li", {},
      element("div", { className: "head" }, element("b", {}, index === 0 ? "1, the best" : String(index + 1)),
        element("span", {}, index ? `score ${figure(score)}, ${figure(texts[0].score - score)} behind` : `score ${figure(score)}`)),
      marked(answer.text, text))));
}
