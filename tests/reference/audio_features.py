"""Spectrograms of librosa and of Whisper's feature extractor, for the audio modality's tests.

    pip install numpy librosa transformers safetensors
    python tests/reference/audio_features.py

writes tests/reference/audio_features.safetensors. The sounds are computed here: rising tones, a click, soft
noise, once at each rate (`samples-<rate>`). Each case holds `<case>.mel` ([frames, mels]) and, in the metadata, its
settings.
Where a clip of ../shared (or SENSORIUM_SHARED) is found, the energies of a few places of its spectrogram are
added; the clip itself is not.
"""

import json
import os
import wave
from pathlib import Path

import librosa
import numpy as np
from safetensors.numpy import save_file
from transformers import WhisperFeatureExtractor

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("SENSORIUM_SHARED", ROOT.parent / "shared"))
CLIP = "stamps/fr/0000.wav"


def sound(rate, seconds, seed):
    random = np.random.default_rng(seed)
    count = int(rate * seconds)
    time = np.arange(count) / rate
    rising = 0.4 * np.sin(2 * np.pi * (80 + (rate / 2 - 200) / (2 * seconds) * time) * time)
    steady = 0.2 * np.sin(2 * np.pi * 440 * time) * np.exp(-3 * time)
    samples = rising + steady + 0.003 * random.standard_normal(count)
    samples[: count // 10] = 0  # digital silence
    samples[count // 2] += 0.5
    return samples.astype(np.float32)


def whisper(samples, mels):
    extractor = WhisperFeatureExtractor(feature_size=mels)
    # Nothing is padded: what is compared is the features of these very samples.
    features = extractor(samples, sampling_rate=16000, padding="longest", return_tensors="np")
    return features["input_features"][0].T


def main():
    tensors, cases = {}, []

    def add(name, rate, mel, config):
        tensors[f"{name}.mel"] = np.ascontiguousarray(mel, dtype=np.float32)
        cases.append({"name": name, "samples": f"samples-{rate}", "config": config})

    samples = tensors["samples-16000"] = sound(16000, 0.4, 0)
    for mels in (80, 128):
        add(f"whisper-{mels}", 16000, whisper(samples, mels), {"mels": mels})

    samples = tensors["samples-22050"] = sound(22050, 0.3, 1)
    for name, htk, norm, pad, config in [
        ("slaney", False, "slaney", "constant", {"padding": "zero"}),
        ("slaney-unnormed", False, None, "reflect", {"mel_norm": "none"}),
        ("htk", True, "slaney", "constant", {"mel_scale": "htk", "padding": "zero"}),
        ("htk-unnormed", True, None, "constant", {"mel_scale": "htk", "mel_norm": "none", "padding": "zero"}),
    ]:
        mel = librosa.feature.melspectrogram(
            y=samples, sr=22050, n_fft=1024, hop_length=256, win_length=800, n_mels=40, htk=htk, norm=norm,
            fmin=50, fmax=9000, pad_mode=pad,
        )
        base = {"rate": 22050, "fft": 1024, "hop": 256, "window": 800, "mels": 40, "low": 50, "high": 9000}
        add(f"librosa-{name}", 22050, mel.T, {**base, **config, "log": "none"})
    mel = librosa.feature.melspectrogram(y=samples, sr=22050, n_fft=512, hop_length=128, n_mels=64, center=False)
    base = {"rate": 22050, "fft": 512, "hop": 128, "window": 512, "mels": 64, "padding": "none"}
    add("librosa-bare", 22050, mel.T, {**base, "log": "none"})
    add("librosa-db", 22050, librosa.power_to_db(mel, top_db=80).T, {**base, "log": "db"})

    if (SHARED / CLIP).exists():
        with wave.open(str(SHARED / CLIP)) as file:
            pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            rate = file.getframerate()
        samples = pcm.astype(np.float32) / 32768
        mel = librosa.feature.melspectrogram(y=samples, sr=rate, n_fft=256, hop_length=80, n_mels=40).T
        places = np.stack([np.linspace(0, mel.shape[0] - 2, 64).astype(int), np.arange(64) * 7 % 40], 1)
        tensors["clip.places"] = places.astype(np.int64)
        tensors["clip.energies"] = mel[places[:, 0], places[:, 1]].astype(np.float32)
        tensors["clip.largest"] = np.array([mel.max()], dtype=np.float32)
    save_file(tensors, str(Path(__file__).with_suffix(".safetensors")), metadata={"cases": json.dumps(cases), "clip": CLIP})


if __name__ == "__main__":
    main()
