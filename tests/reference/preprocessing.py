"""What the transformers library makes of pictures, sounds and texts, for the tests of published models' preprocessing.

    pip install torch pillow transformers tokenizers safetensors numpy
    python tests/reference/preprocessing.py

writes tests/reference/preprocessing.safetensors: for image processors of several configurations the levels (before
normalisation) at some places of pictures that are drawn here, in the modes of real files, and of pictures of ../shared
(or SENSORIUM_SHARED). They are those of Pillow: torchvision scales rows before columns always, Pillow 13 does not, which
shows in pictures that become wider and lower. For feature extractors the features at some places of sounds; for tokenizers of vocabularies that
are learned here their files and the ids of texts. Pictures and sounds of ../shared are named, not copied.
"""

import io
import json
import os
import sys
import tempfile
import wave
from pathlib import Path

try:
    import numpy as np
    import tokenizers
    import transformers
    from PIL import Image
    from safetensors.numpy import save_file
except ImportError as error:
    sys.exit(f"{error.name} is not installed: there is nothing to compare with")

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("SENSORIUM_SHARED", ROOT.parent / "shared"))
PLACES = 32
PROCESSORS = {
    "clip": transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
    "clip-larger-edge": transformers.CLIPImageProcessorPil(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 28}),
    "clip-smaller-edge": transformers.CLIPImageProcessorPil(size={"shortest_edge": 21}, crop_size={"height": 32, "width": 40}),
    "clip-number": transformers.CLIPImageProcessorPil(size=36, crop_size=32),
    "siglip": transformers.SiglipImageProcessorPil(size={"height": 48, "width": 40}),
    "vit": transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}),
    "vit-lanczos": transformers.ViTImageProcessorPil(size={"height": 30, "width": 20}, resample=1),
    "vit-raw": transformers.ViTImageProcessorPil(size=32, do_normalize=False, do_rescale=False),
    "vit-factor": transformers.ViTImageProcessorPil(size=32, do_normalize=False, rescale_factor=0.0078125),
    "deit": transformers.DeiTImageProcessorPil(size={"height": 40, "width": 40}, crop_size={"height": 32, "width": 32}),
    "bit": transformers.BitImageProcessorPil(size={"shortest_edge": 37}, crop_size=32),
}
EXTRACTORS = {
    "whisper": transformers.WhisperFeatureExtractor(chunk_length=4),
    "whisper-128": transformers.WhisperFeatureExtractor(feature_size=128, chunk_length=2),
    "ast": transformers.ASTFeatureExtractor(),
    "ast-small": transformers.ASTFeatureExtractor(num_mel_bins=40, max_length=60, mean=-3.0, std=2.0),
    "ast-raw": transformers.ASTFeatureExtractor(max_length=300, do_normalize=False),
    "wav2vec2": transformers.Wav2Vec2FeatureExtractor(),
    "wav2vec2-raw": transformers.Wav2Vec2FeatureExtractor(do_normalize=False),
}
TEXTS = [
    "a photo of a cat", "Don't  panic: it's 42!", "\tÉtude nº 5 — l'été à Paris ", "日本の 寿司", "naïve café ☕️ 🐈‍⬛",
    "UPPER lower MiXeD", "hello,world...ok?", "x" * 120, "a\nb\r\nc", "[MASK] <mask> <|endoftext|> </s> word", "we'll they've I'd",
]


def drawings():
    """Small files in the modes that real ones have."""
    y, x = np.mgrid[0:37, 0:53]
    disc = (x - 26) ** 2 + (y - 18) ** 2 < 150
    rgb = np.stack([255 * x / 52, np.where((x // 5 + y // 4) % 2, 220, 40), np.where(disc, 255 * y / 36, 90)], 2)
    picture = Image.fromarray(rgb.astype(np.uint8), "RGB")
    alpha = picture.copy()
    alpha.putalpha(Image.fromarray((255 * x / 52).astype(np.uint8)))
    palette = picture.quantize(32)

    def encode(image, format, **options):
        buffer = io.BytesIO()
        image.save(buffer, format, **options)
        return buffer.getvalue()

    yield "rgb", encode(picture, "PNG")
    yield "alpha", encode(alpha, "PNG")
    yield "palette", encode(palette, "PNG")
    yield "palette-transparent", encode(palette, "PNG", transparency=bytes(range(0, 256, 8)))
    yield "grey", encode(picture.convert("L"), "PNG")
    yield "grey-alpha", encode(alpha.convert("LA"), "PNG")
    yield "bilevel", encode(picture.convert("1"), "PNG")
    yield "cmyk", encode(picture.convert("CMYK"), "JPEG", quality=95)
    yield "tall", encode(picture.transpose(Image.ROTATE_90).resize((29, 91)), "PNG")


def levels(processor, image):
    """What the processor makes of a picture, normalisation taken back, in levels from 0 to 255."""
    image = Image.fromarray(transformers.image_transforms.convert_to_rgb(image, return_numpy=True))
    values = processor(image, return_tensors="np")["pixel_values"][0].astype(np.float64)
    if processor.do_normalize:
        shape = (-1, 1, 1)
        values = values * np.reshape(processor.image_std, shape) + np.reshape(processor.image_mean, shape)
    return values / processor.rescale_factor if processor.do_rescale else values


def settings(processor):
    with tempfile.TemporaryDirectory() as folder:
        processor.save_pretrained(folder)
        config = json.loads((Path(folder) / "preprocessor_config.json").read_text())
    config.pop("mel_filters", None)
    return config


def sounds():
    """16 kHz: one is drawn here, the others are of ../shared."""
    random = np.random.default_rng(0)
    time = np.arange(20000) / 16000
    samples = 0.4 * np.sin(2 * np.pi * (80 + 2000 * time) * time) + 0.003 * random.standard_normal(20000)
    samples[:2000] = 0
    yield "drawn", np.round(samples * 32768).astype("<i2"), None
    for path in sorted(SHARED.glob("stamps/*/*.wav")) + sorted(SHARED.glob("sounds/audio/*.wav")):
        with wave.open(str(path)) as file:
            if file.getframerate() == 16000 and file.getsampwidth() == 2 and file.getnchannels() == 1:
                yield str(path.relative_to(SHARED)), np.frombuffer(file.readframes(file.getnframes()), "<i2"), path
                return


def vocabularies(folder):
    """Tokenizers with vocabularies learned from this file: name, family, library's tokenizer, its files."""
    corpus = [*TEXTS, *Path(__file__).read_text().splitlines()]

    def bpe(suffix, special, size=420):
        ends = {"end_of_word_suffix": suffix} if suffix else {}
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=size, special_tokens=special, show_progress=False,
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(), **ends)
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(**ends))
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.train_from_iterator(corpus, trainer)
        model = json.loads(tokenizer.to_str())["model"]
        return model["vocab"], [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]

    def pairs(name, vocabulary, merges):
        (folder / name).mkdir()
        (folder / name / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
        (folder / name / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
        return [tuple(merge.split(" ")) for merge in merges]

    def lines(name, words):
        (folder / name).mkdir()
        (folder / name / "vocab.txt").write_text("\n".join(words) + "\n")
        return {word: place for place, word in enumerate(words)}

    letters = sorted({letter for text in TEXTS for letter in text.lower() if not letter.isspace()})
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters),
             "photo", "of", "cat", "##ke", "paris", "hello", "world", "e", "ete"]
    words = list(dict.fromkeys(words))
    yield "bert", "bert", transformers.BertTokenizer(vocab=lines("bert", words))
    cased = {"do_lower_case": False, "strip_accents": False, "tokenize_chinese_chars": False}
    tokenizer = transformers.BertTokenizer(vocab=lines("bert-cased", words), **cased)
    (folder / "bert-cased" / "tokenizer_config.json").write_text(json.dumps(cased))
    yield "bert-cased", "bert", tokenizer
    vocabulary, merges = bpe("", ["<|endoftext|>"])
    yield "gpt2", "gpt2", transformers.GPT2Tokenizer(vocab=vocabulary, merges=pairs("gpt2", vocabulary, merges))
    vocabulary, merges = bpe("", ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    yield "roberta", "roberta", transformers.RobertaTokenizer(vocab=vocabulary, merges=pairs("roberta", vocabulary, merges))
    blank = transformers.RobertaTokenizer(vocab=vocabulary, merges=pairs("bart-blank", vocabulary, merges), add_prefix_space=True)
    (folder / "bart-blank" / "tokenizer_config.json").write_text(json.dumps({"add_prefix_space": True}))
    yield "bart-blank", "bart", blank
    vocabulary, merges = bpe("</w>", ["<|startoftext|>", "<|endoftext|>"])
    yield "clip", "clip", transformers.CLIPTokenizer(vocab=vocabulary, merges=pairs("clip", vocabulary, merges))
    vocabulary, merges = bpe("</w>", ["<unk>"], 400)
    yield "gpt", "openai-gpt", transformers.OpenAIGPTTokenizer(vocab=vocabulary, merges=pairs("gpt", vocabulary, merges))
    lines("esm", ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-", "<null_1>", "<mask>"])
    yield "esm", "esm", transformers.EsmTokenizer(str(folder / "esm" / "vocab.txt"))


def main():
    tensors, metadata = {}, {"pictures": [], "sounds": [], "texts": []}

    def probe(name, values):
        places = np.random.default_rng(len(tensors)).integers(0, values.size, PLACES)
        tensors[f"{name}.places"] = places
        tensors[f"{name}.values"] = values.reshape(-1)[places].astype(np.float32)
        return list(values.shape)

    files = {}
    for name, file in drawings():
        tensors[f"{name}.file"] = np.frombuffer(file, np.uint8).copy()
        files[name] = file
    for folder in ("xray/images", "stamps/img"):
        for path in sorted((SHARED / folder).glob("*"))[7::60] if (SHARED / folder).exists() else []:
            files[str(path.relative_to(SHARED))] = path.read_bytes()
    for kind, processor in PROCESSORS.items():
        for file, content in files.items():
            shape = probe(f"{kind}:{file}", levels(processor, Image.open(io.BytesIO(content))))
            metadata["pictures"].append({"name": f"{kind}:{file}", "file": file, "shape": shape, "kind": kind})
    for name, samples, path in sounds():
        if path is None:
            tensors[f"{name}.samples"] = samples.astype(np.int64)
        for kind, extractor in EXTRACTORS.items():
            found = extractor(samples.astype(np.float32) / 32768, sampling_rate=16000, return_tensors="np")
            found = next(value for key, value in found.items() if key != "attention_mask")[0]
            shape = probe(f"{kind}:{name}", found)
            tensors[f"{kind}:{name}.largest"] = np.array([np.abs(found).max()], np.float32)
            metadata["sounds"].append({"name": f"{kind}:{name}", "file": name, "shape": shape, "kind": kind})
    with tempfile.TemporaryDirectory() as folder:
        for name, family, tokenizer in vocabularies(Path(folder)):
            texts = ["MKTAYIAKQR QISFVK", "M<mask>TJ-X"] if name == "esm" else TEXTS
            ids = [tokenizer(text)["input_ids"] for text in texts]
            own = {file.name: file.read_text() for file in sorted((Path(folder) / name).iterdir())}
            metadata["texts"].append({"name": name, "family": family, "files": own, "texts": texts, "ids": ids})
    metadata["settings"] = {kind: settings(processor) for kind, processor in (PROCESSORS | EXTRACTORS).items()}
    save_file(tensors, str(Path(__file__).with_suffix(".safetensors")),
              metadata={key: json.dumps(value, ensure_ascii=False) for key, value in metadata.items()})


if __name__ == "__main__":
    main()
