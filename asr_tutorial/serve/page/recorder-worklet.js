// Runs in the sound thread: hands the samples of the microphone to the page in pieces.

const PIECE = 2048; // samples; at 48 kHz some 43 ms

class Pieces extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Float32Array(PIECE);
    this.filled = 0;
    this.port.onmessage = () => {
      // Asked to end: what is left, then nothing more.
      this.port.postMessage(this.piece.slice(0, this.filled));
      this.port.postMessage(null);
      this.ended = true;
    };
  }

  process(inputs) {
    const channel = inputs[0][0]; // undefined until the microphone delivers; 128 samples at a time
    for (let at = 0; channel && at < channel.length; ) {
      const take = Math.min(channel.length - at, PIECE - this.filled);
      this.piece.set(channel.subarray(at, at + take), this.filled);
      this.filled += take;
      at += take;
      if (this.filled === PIECE) {
        this.port.postMessage(this.piece.slice());
        this.filled = 0;
      }
    }
    return !this.ended;
  }
}

registerProcessor("pieces", Pieces);
