// Files as the server takes them: pictures in a common format, sounds as WAV.

const PICTURES = ["image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp"];
const LARGEST = 6 << 20;
const LONGEST_SIDE = 1600;
const SECONDS = 30;

// The file itself if the server knows its format, else drawn anew.
export async function picture(file) {
  if (PICTURES.includes(file.type) && file.size <= LARGEST) return file;
  const image = await decoded(file);
  const share = Math.min(1, LONGEST_SIDE / Math.max(image.naturalWidth || 512, image.naturalHeight || 512));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round((image.naturalWidth || 512) * share));
  canvas.height = Math.max(1, Math.round((image.naturalHeight || 512) * share));
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(image.src);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

async function decoded(file) {
  const image = new Image();
  image.src = URL.createObjectURL(file);
  await image.decode().catch(() => { throw new Error("This picture cannot be read."); });
  return image;
}

// Whatever the browser can play, as WAV: one channel of 16 bits.
export async function sound(file) {
  const bytes = await file.arrayBuffer();
  if (bytes.byteLength <= LARGEST && isWave(bytes)) return new Blob([bytes], { type: "audio/wav" });
  const context = new OfflineAudioContext(1, 1, 16000);
  const heard = await context.decodeAudioData(bytes).catch(() => { throw new Error("This sound cannot be read."); });
  const length = Math.min(heard.length, SECONDS * heard.sampleRate);
  const mixed = new Float32Array(length);
  for (let channel = 0; channel < heard.numberOfChannels; channel++) {
    const samples = heard.getChannelData(channel);
    for (let at = 0; at < length; at++) mixed[at] += samples[at] / heard.numberOfChannels;
  }
  return wave(mixed, heard.sampleRate);
}

function isWave(bytes) {
  const name = new TextDecoder("latin1").decode(bytes.slice(0, 12));
  return name.startsWith("RIFF") && name.endsWith("WAVE");
}

function wave(samples, rate) {
  const bytes = new DataView(new ArrayBuffer(44 + samples.length * 2));
  const text = (at, letters) => [...letters].forEach((letter, place) => bytes.setUint8(at + place, letter.charCodeAt(0)));
  text(0, "RIFF");
  bytes.setUint32(4, 36 + samples.length * 2, true);
  text(8, "WAVEfmt ");
  bytes.setUint32(16, 16, true);
  bytes.setUint16(20, 1, true);
  bytes.setUint16(22, 1, true);
  bytes.setUint32(24, rate, true);
  bytes.setUint32(28, rate * 2, true);
  bytes.setUint16(32, 2, true);
  bytes.setUint16(34, 16, true);
  text(36, "data");
  bytes.setUint32(40, samples.length * 2, true);
  samples.forEach((sample, at) => bytes.setInt16(44 + at * 2, Math.max(-1, Math.min(1, sample)) * 32767, true));
  return new Blob([bytes], { type: "audio/wav" });
}

// Records until `stop` of what it returns is called, or ten seconds are over; then `done` gets the sound.
export async function record(done) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true }).catch(() => {
    throw new Error("The microphone cannot be used.");
  });
  const recorder = new MediaRecorder(stream);
  const pieces = [];
  recorder.ondataavailable = (event) => pieces.push(event.data);
  recorder.onstop = () => {
    stream.getTracks().forEach((track) => track.stop());
    done(new Blob(pieces, { type: recorder.mimeType }));
  };
  recorder.start();
  const end = () => recorder.state === "recording" && recorder.stop();
  setTimeout(end, 10000);
  return { stop: end };
}
