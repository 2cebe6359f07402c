// From the microphone to samples, and from samples to a WAV file.

import { Trouble } from "./trouble.js";

const ENDING_MS = 1000; // how long the sound thread may take to hand over its last piece

/** Records one microphone as mono floats at the sound card's own rate; the server resamples. */
export class Recorder {
  /** @param {(piece: Float32Array) => void} onPiece called with each piece as it comes. */
  constructor(onPiece) {
    this.onPiece = onPiece;
    this.pieces = [];
    this.samples = 0;
  }

  get seconds() {
    return this.context ? this.samples / this.context.sampleRate : 0;
  }

  /** Throws a Trouble that says why there is no microphone. */
  async start() {
    if (!navigator.mediaDevices?.getUserMedia)
      throw new Trouble("insecure", "This page may not use the microphone.",
        "Browsers give it to pages from localhost or over https alone: open http://localhost with the port of the " +
        "service, or choose a file instead.");
    try {
      // The recogniser has learnt from plain sound: no filters of the browser's on top.
      this.stream = await navigator.mediaDevices.getUserMedia({
        audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
      });
    } catch (error) {
      throw microphoneTrouble(error);
    }
    try {
      this.context = new AudioContext();
      await this.context.audioWorklet.addModule(new URL("recorder-worklet.js", import.meta.url));
      await this.context.resume();
      this.worklet = new AudioWorkletNode(this.context, "pieces", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    } catch (error) {
      await this.close();
      throw new Trouble("no-audio", "This browser cannot record here.", `It says: ${error.message}. Choose a file instead.`);
    }
    this.worklet.port.onmessage = ({ data }) => {
      if (data === null) return this.ended?.();
      this.pieces.push(data);
      this.samples += data.length;
      this.onPiece(data);
    };
    this.context.createMediaStreamSource(this.stream).connect(this.worklet);
  }

  /** Ends the recording and returns it as a WAV file. */
  async stop() {
    await new Promise((resolve) => {
      this.ended = resolve;
      this.worklet.port.postMessage("end");
      setTimeout(resolve, ENDING_MS);
    });
    const rate = this.context.sampleRate;
    await this.close();
    return new File([encodeWav(this.pieces, rate)], "recording.wav", { type: "audio/wav" });
  }

  async close() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    if (this.context && this.context.state !== "closed") await this.context.close();
  }
}

/** Mono 16-bit WAV. */
export function encodeWav(pieces, sampleRate) {
  const count = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * count));
  const word = (at, text) => [...text].forEach((letter, index) => view.setUint8(at + index, letter.charCodeAt(0)));
  word(0, "RIFF");
  view.setUint32(4, 36 + 2 * count, true);
  word(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // one channel
  view.setUint32(24, sampleRate, true);
  view.setUint32(28, 2 * sampleRate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  word(36, "data");
  view.setUint32(40, 2 * count, true);
  let at = 44;
  for (const piece of pieces)
    for (const sample of piece) {
      view.setInt16(at, Math.round(Math.max(-1, Math.min(1, sample)) * 32767), true);
      at += 2;
    }
  return view.buffer;
}

/** Loudness of a piece from 0 (−60 dB and below) to 1. */
export function loudness(piece) {
  let sum = 0;
  for (const sample of piece) sum += sample * sample;
  const decibels = 10 * Math.log10(sum / Math.max(piece.length, 1) + 1e-12);
  return Math.max(0, Math.min(1, (decibels + 60) / 60));
}

function microphoneTrouble(error) {
  const known = {
    NotAllowedError: ["The microphone is not allowed for this page.",
      "Allow it in the browser's address bar and press Record again, or choose a file instead."],
    NotFoundError: ["No microphone was found.", "Plug one in and press Record again, or choose a file instead."],
    NotReadableError: ["The microphone is in use by another program.", "Close that program and press Record again."],
  };
  const [message, remedy] = known[error.name] ?? ["The microphone cannot be opened.", `The browser says: ${error.message}`];
  return new Trouble(error.name, message, remedy);
}
