// Talks to the service: one place for addresses, errors and what an answer looks like.

import { Trouble } from "./trouble.js";

const HERE = new URL("/", location.href);

/** What the server is and what it can do; throws a Trouble when it is not there. */
export async function health() {
  return (await ask("health")).json();
}

/** Bytes of an example as a File. */
export async function example({ name, url }) {
  const answer = await ask(url);
  const blob = await answer.blob();
  return new File([blob], name, { type: blob.type });
}

/**
 * Recognises a file and explains how; of what is too long for pictures (some 30 s) there is the text alone.
 * @param {File} file sound.
 * @param {{search: string, nbest: number}} options an empty search leaves the choice to the server.
 * @param {AbortSignal} signal ends the wait.
 */
export async function explain(file, { search, nbest }, signal) {
  const form = new FormData();
  form.append("file", file);
  if (search) form.append("search", search);
  if (nbest) form.append("nbest", String(nbest));
  const request = { method: "POST", body: form, signal };
  const reply = await ask("explain", request).catch((error) => {
    if (error.code !== "too_long") throw error;
    return ask("transcribe", request);
  });
  const answer = await reply.json();
  for (const picture of [answer.mel, answer.alignment?.posteriors, answer.attention]) if (picture) unpack(picture);
  return answer;
}

/** Pictures travel as bytes, 0 for `low` and 255 for `high`: gives them their values[row][column]. */
function unpack(picture) {
  const { shape: [rows, columns], data, low, high } = picture;
  const bytes = atob(data);
  picture.values = Array.from({ length: rows }, (_, row) =>
    Array.from({ length: columns }, (_, column) => low + (bytes.charCodeAt(row * columns + column) / 255) * (high - low)));
}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(new URL(path, HERE), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble("offline", "The server does not answer.",
      "Is asr-tutorial serve still running in its terminal? Start it again and press Try again.", { again: true });
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  const { code = `http-${answer.status}`, message = `The server answered with status ${answer.status}.`, remedy = "" } =
    told.error ?? {};
  throw new Trouble(code, message, remedy, {
    status: answer.status,
    retryAfter: Number(answer.headers.get("Retry-After")) || 0,
    again: answer.status === 429 || answer.status >= 500,
  });
}

/** Sends sound while it is spoken and hands on what the server makes of it. */
export class Stream {
  /**
   * @param {number} sampleRate of the pieces.
   * @param {(message: object) => void} onMessage called with each answer of the server's.
   */
  constructor(sampleRate, onMessage) {
    const address = new URL("stream", HERE);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    this.waiting = [];
    this.socket = new WebSocket(address);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => {
      this.socket.send(JSON.stringify({ sample_rate: sampleRate }));
      for (const piece of this.waiting.splice(0)) this.socket.send(piece);
      if (this.ending) this.end();
    };
    this.socket.onmessage = ({ data }) => onMessage(JSON.parse(data));
  }

  /** A piece of sound; what comes before the connection stands waits for it. */
  send(piece) {
    // The course's machines are little-endian throughout, as the service expects.
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(piece);
    else if (this.socket.readyState === WebSocket.CONNECTING) this.waiting.push(piece);
  }

  end() {
    this.ending = true;
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ end: true }));
  }

  close() {
    this.socket.onmessage = null;
    this.socket.close();
  }
}
