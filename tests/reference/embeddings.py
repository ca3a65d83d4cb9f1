#!/usr/bin/env python3
"""Compares what the program makes of pictures, texts and sounds with the transformers library, from end to end.

    pip install torch pillow transformers tokenizers safetensors numpy pyarrow
    cargo build --release
    python3 tests/reference/embeddings.py [--only clip,whisper]

Small checkpoints are drawn at random, with processors and tokenizers beside them as the library saves them, and taken
in by `sensorium import`. `sensorium embed` must give the vectors of the library, brought to length 1, and `sensorium
generate` the ids that it chooses. Pictures, captions and sounds are those of ../shared (or SENSORIUM_SHARED).
"""

import argparse
import csv
import json
import pathlib
import subprocess
import sys
import tempfile
import wave

try:
    import numpy as np
    import pyarrow.parquet
    import torch
    import transformers as t
    from PIL import Image
except ImportError as error:
    sys.exit(f"{error.name} is not installed: there is nothing to compare with")

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from preprocessing import SHARED, vocabularies  # noqa: E402

TOLERANCE = 1e-4
# Decoders of JPEG round differently by a level, which weights drawn at random make more of.
JPEG_TOLERANCE = 1e-3
SENSORIUM = pathlib.Path(__file__).resolve().parent.parent.parent / "target/release/sensorium"
SIZES = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40)
COUNT = 24


def data(folder):
    """A table of pictures, captions and sounds; the sounds are said to have 16,000 samples a second."""
    pictures = sorted((SHARED / "stamps/img").glob("*.png"))[::11][:COUNT // 2]
    pictures += sorted((SHARED / "xray/images").glob("*"))[::9][:COUNT - len(pictures)]
    sounds = sorted((SHARED / "stamps/fr").glob("*.wav"))[:COUNT]
    lines = map(json.loads, (SHARED / "stamps/stamps.jsonl").read_text(encoding="utf-8").splitlines()[::9][:COUNT])
    captions = [line[("caption", "caption_fr", "caption_de", "caption_es")[place % 4]] or "none" for place, line in enumerate(lines)]
    rows = []
    for place, (picture, sound, caption) in enumerate(zip(pictures, sounds, captions)):
        (folder / picture.name).write_bytes(picture.read_bytes())
        with wave.open(str(sound)) as source, wave.open(str(folder / f"{place}.wav"), "wb") as target:
            target.setparams((source.getnchannels(), source.getsampwidth(), 16000, 0, "NONE", ""))
            target.writeframes(source.readframes(source.getnframes()))
        rows.append({"key": str(place), "image": picture.name, "audio": f"{place}.wav", "text": caption})
    with open(folder / "data.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["key", "image", "audio", "text"])
        writer.writeheader()
        writer.writerows(rows)
    return rows


def samples(path):
    with wave.open(str(path)) as file:
        width, frames = file.getsampwidth(), file.readframes(file.getnframes())
        levels = np.frombuffer(frames, "<i2" if width == 2 else np.uint8).astype(np.float32)
        return levels / 32768 if width == 2 else levels / 128 - 1


def picture(path):
    return Image.fromarray(t.image_transforms.convert_to_rgb(Image.open(path), return_numpy=True))


def randomised(model):
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    return model.eval()


def of(answer):
    """Vectors, or the pooled output that holds them."""
    return answer if isinstance(answer, torch.Tensor) else answer.pooler_output


def cases(words):
    """Name, model, what is saved beside it, and for each modality what its items become in the library."""
    vision = dict(**SIZES, image_size=32, patch_size=8)
    crop = t.CLIPImageProcessorPil(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32})
    clip, roberta, bert, gpt2 = words["clip"], words["roberta"], words["bert"], words["gpt2"]

    def texts(model, tokenizer, vector, **options):
        return lambda items: [vector(model, tokenizer(item, return_tensors="pt", truncation=True, **options)) for item in items]

    def pictures(model, processor, vector):
        return lambda items: [vector(model, processor(picture(item), return_tensors="pt")) for item in items]

    def sounds(model, extractor, vector):
        call = lambda item: extractor(samples(item), sampling_rate=16000, return_tensors="pt")
        return lambda items: [vector(model, call(item)) for item in items]

    text = dict(**SIZES, vocab_size=len(clip), max_position_embeddings=20, bos_token_id=clip.bos_token_id,
                eos_token_id=clip.eos_token_id, pad_token_id=clip.pad_token_id)
    model = randomised(t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)))
    yield "clip", model, [clip, crop], {
        "text": texts(model, clip, lambda m, i: of(m.get_text_features(**i)), max_length=20),
        "image": pictures(model, crop, lambda m, i: of(m.get_image_features(**i)))}
    model = randomised(t.CLIPVisionModelWithProjection(t.CLIPVisionConfig(**vision, projection_dim=16)))
    yield "clip-vision", model, [crop], {"image": pictures(model, crop, lambda m, i: m(**i).image_embeds)}
    processor = t.SiglipImageProcessorPil(size={"height": 32, "width": 32})
    siglip = dict(**SIZES, vocab_size=len(bert), max_position_embeddings=16, pad_token_id=bert.pad_token_id)
    model = randomised(t.SiglipModel(t.SiglipConfig(text_config=siglip, vision_config=vision)))
    yield "siglip", model, [bert, processor], {
        "text": texts(model, bert, lambda m, i: of(m.get_text_features(i["input_ids"])), max_length=16, padding="max_length"),
        "image": pictures(model, processor, lambda m, i: of(m.get_image_features(**i)))}
    processor = t.ViTImageProcessorPil(size={"height": 32, "width": 32})
    model = randomised(t.ViTModel(t.ViTConfig(**vision)))
    yield "vit", model, [processor], {"image": pictures(model, processor, lambda m, i: m(**i).pooler_output)}
    deit = t.DeiTImageProcessorPil(size={"height": 40, "width": 40}, crop_size={"height": 32, "width": 32})
    model = randomised(t.ViTModel(t.ViTConfig(**vision), add_pooling_layer=False))
    yield "vit-cropped", model, [deit], {"image": pictures(model, deit, lambda m, i: m(**i).last_hidden_state[:, 0])}
    processor = t.ViTImageProcessorPil(size={"height": 32, "width": 32})
    model = randomised(t.ViTMAEModel(t.ViTMAEConfig(**vision, mask_ratio=0.0)))
    # All patches are seen, those of the least noise first: the class token says the same in any order.
    yield "mae", model, [processor], {"image": pictures(model, processor, lambda m, i: m(**i).last_hidden_state[:, 0])}
    processor = t.FlavaImageProcessorPil(size={"height": 32, "width": 32}, crop_size={"height": 32, "width": 32})
    text = dict(**SIZES, vocab_size=len(bert), max_position_embeddings=20, pad_token_id=bert.pad_token_id)
    model = randomised(t.FlavaModel(t.FlavaConfig(
        text_config=text, image_config=vision, multimodal_config=SIZES, projection_dim=16)))
    yield "flava", model, [bert, processor], {
        "text": texts(model, bert, lambda m, i: m.text_projection(m.text_model(**i).last_hidden_state[:, 0]), max_length=20),
        "image": pictures(model, processor, lambda m, i: m.image_projection(m.image_model(i["pixel_values"]).last_hidden_state[:, 0]))}
    model = randomised(t.GPT2Model(t.GPT2Config(vocab_size=len(gpt2), n_positions=40, n_embd=24, n_layer=2, n_head=3)))
    yield "gpt2", model, [gpt2], {"text": texts(model, gpt2, lambda m, i: m(**i).last_hidden_state[:, -1], max_length=40)}
    text = dict(vocab_size=len(bert), d_model=24, d_kv=8, d_ff=40, num_layers=2, num_heads=3)
    model = randomised(t.T5EncoderModel(t.T5Config(**text, feed_forward_proj="gated-gelu")))
    yield "t5", model, [bert], {"text": texts(model, bert, lambda m, i: m(i["input_ids"]).last_hidden_state.mean(1), max_length=512)}
    model = randomised(t.LlamaModel(t.LlamaConfig(
        **SIZES, vocab_size=len(gpt2), num_key_value_heads=1, max_position_embeddings=40)))
    yield "llama", model, [gpt2], {"text": texts(model, gpt2, lambda m, i: m(**i).last_hidden_state[:, -1], max_length=40)}
    processor = t.BitImageProcessorPil(size={"shortest_edge": 30}, crop_size={"height": 24, "width": 24})
    dinov2 = {key: value for key, value in vision.items() if key != "intermediate_size"}
    model = randomised(t.Dinov2Model(t.Dinov2Config(**dinov2)))
    yield "dinov2", model, [processor], {"image": pictures(model, processor, lambda m, i: m(**i).pooler_output)}
    extractor = t.ASTFeatureExtractor(num_mel_bins=32, max_length=100)
    model = randomised(t.ASTModel(t.ASTConfig(**SIZES, num_mel_bins=32, max_length=100, patch_size=8, frequency_stride=8, time_stride=8)))
    yield "ast", model, [extractor], {"audio": sounds(model, extractor, lambda m, i: m(**i).pooler_output)}
    extractor = t.Wav2Vec2FeatureExtractor()
    model = randomised(t.Wav2Vec2Model(t.Wav2Vec2Config(
        **SIZES, conv_dim=[8] * 7, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2)))
    yield "wav2vec2", model, [extractor], {
        "audio": sounds(model, extractor, lambda m, i: m(i["input_values"]).last_hidden_state.mean(1))}
    text = dict(**SIZES, vocab_size=len(roberta), max_position_embeddings=34, pad_token_id=roberta.pad_token_id)
    model = randomised(t.ClapTextModelWithProjection(t.ClapTextConfig(**text, projection_dim=12)))
    yield "clap", model, [roberta], {"text": texts(model, roberta, lambda m, i: m(**i).text_embeds, max_length=32)}
    model = randomised(t.RobertaModel(t.RobertaConfig(**text)))
    yield "roberta", model, [roberta], {
        "text": texts(model, roberta, lambda m, i: m(**i).last_hidden_state.mean(1), max_length=32)}


def run(*arguments):
    done = subprocess.run([SENSORIUM, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"sensorium {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def save(folder, model, beside, older):
    """As the library writes it; `older` files in place of tokenizer.json."""
    model.save_pretrained(folder)
    for part in beside:
        part.save_pretrained(folder)
    if older and (folder / "tokenizer.json").exists():
        (folder / "tokenizer.json").unlink()
        for file in older.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())


def compare(folder, rows, name, model, beside, answers, older):
    published, imported, out = folder / name, folder / f"{name}-imported", folder / f"{name}.parquet"
    save(published, model, beside, older)
    run("import", published, imported)
    run("embed", imported, folder / "data.csv", "--out", out, "--quiet")
    table = pyarrow.parquet.read_table(out).to_pydict()
    found = {(key, modality): np.array(vector) for key, modality, vector in zip(table["key"], table["modality"], table["vector"])}
    wrong = 0
    for modality, answer in answers.items():
        items = [row["text"] if modality == "text" else folder / row[modality] for row in rows]
        with torch.no_grad():
            expected = torch.nn.functional.normalize(torch.cat(answer(items)), dim=-1).numpy()
        far = [abs(found[row["key"], modality] - expected[place]).max() for place, row in enumerate(rows)]
        jpeg = [modality == "image" and pathlib.Path(row["image"]).suffix in (".jpg", ".jpeg") for row in rows]
        allowed = [JPEG_TOLERANCE if is_jpeg else TOLERANCE for is_jpeg in jpeg]
        too_far = any(found > most for found, most in zip(far, allowed))
        wrong += too_far
        exact = max(found for found, is_jpeg in zip(far, jpeg) if not is_jpeg)
        loose = f", of JPEG {max(found for found, is_jpeg in zip(far, jpeg) if is_jpeg):.1e}" if any(jpeg) else ""
        print(f"{name:18} {modality:6} {len(items)} vectors, largest difference {exact:.1e}{loose}{'  TOO FAR' if too_far else ''}")
    return wrong


def whisper(folder, rows):
    """Ids that Whisper chooses for sounds, with the settings of multilingual and English models."""
    extractor = t.WhisperFeatureExtractor(feature_size=20)
    config = t.WhisperConfig(vocab_size=120, d_model=24, encoder_layers=2, decoder_layers=2, encoder_attention_heads=3,
                             decoder_attention_heads=3, encoder_ffn_dim=40, decoder_ffn_dim=40, num_mel_bins=20,
                             max_target_positions=30, pad_token_id=0, bos_token_id=100, eos_token_id=100,
                             decoder_start_token_id=101, begin_suppress_tokens=[7, 100], suppress_tokens=None)
    languages = {"lang_to_id": {"<|en|>": 103, "<|fr|>": 104, "<|de|>": 105}, "task_to_id": {"transcribe": 108, "translate": 109},
                 "is_multilingual": True, "no_timestamps_token_id": 110, "suppress_tokens": [*range(60), *range(101, 120)]}
    wrong = 0
    for name, settings, asked, options in [
        ("plain", {}, [], {}),
        ("english", {"is_multilingual": False, "forced_decoder_ids": [[1, 110]], "no_timestamps_token_id": 110}, [], {}),
        ("heard", languages | {"forced_decoder_ids": [[1, None], [2, 108]]}, [], {}),
        ("heard-alone", languages, [], {}),
        ("told", languages, ["--language", "fr"], {"language": "fr"}),
        ("translated", languages, ["--language", "de", "--task", "translate"], {"language": "de", "task": "translate"}),
    ]:
        model = randomised(t.WhisperForConditionalGeneration(config))
        model.generation_config = t.GenerationConfig.from_model_config(config)
        model.generation_config.update(**settings, return_timestamps=False)
        for key, value in settings.items():
            setattr(model.generation_config, key, value)
        published, imported = folder / f"whisper-{name}", folder / f"whisper-{name}-imported"
        save(published, model, [extractor], None)
        run("import", published, imported)
        same = 0
        for row in rows[:4]:
            features = extractor(samples(folder / row["audio"]), sampling_rate=16000, return_tensors="pt").input_features
            expected = model.generate(features, max_new_tokens=12, do_sample=False, **options)[0].tolist()
            said = run("generate", imported, "--audio", folder / row["audio"], "--tokens", 12, *asked).strip()
            found = [int(id) for id in said.split(",") if id]
            # What the library returns begins with some of the prompt, and may lack the token that ends it.
            cut = [id for id in found if id != 100]
            expected = [id for id in expected if id != 100]
            same += expected[len(expected) - len(cut):] == cut
        wrong += same < 4
        print(f"whisper-{name:10} {same} of 4 sounds, e.g. {found}{'' if same == 4 else f'  expected {expected}'}")
    return wrong


def imagegpt(folder, rows):
    """The colours that ImageGPT paints under the upper half of a picture."""
    colours = np.random.default_rng(0).uniform(-1, 1, (15, 3)).astype(np.float32)
    processor = t.ImageGPTImageProcessorPil(clusters=colours.tolist(), size={"height": 6, "width": 8})
    model = randomised(t.ImageGPTForCausalImageModeling(t.ImageGPTConfig(
        vocab_size=16, n_positions=48, n_embd=24, n_layer=2, n_head=3)))
    published, imported, out = folder / "imagegpt", folder / "imagegpt-imported", folder / "painted.png"
    save(published, model, [processor], None)
    run("import", published, imported)
    wrong = 0
    for row in rows[:4]:
        run("generate", imported, "--image", folder / row["image"], "--out", out)
        ids = processor(picture(folder / row["image"]), return_tensors="pt").input_ids.reshape(-1)
        expected = torch.cat([torch.tensor([15]), ids[:24]])[None]
        while expected.shape[1] < 49:
            with torch.no_grad():
                expected = torch.cat([expected, model(expected).logits[:, -1].argmax(-1, keepdim=True)], 1)
        painted = np.asarray(Image.open(out).convert("RGB"))
        wanted = np.clip(np.rint((colours[expected[0, 1:].numpy()] + 1) * 127.5), 0, 255).reshape(6, 8, 3)
        times = painted.shape[1] // 8
        wrong += (abs(painted[times // 2::times, times // 2::times].astype(float) - wanted) > 1).any()
    print(f"imagegpt           {4 - wrong} of 4 pictures")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda names: names.split(","))
    only = parser.parse_args().only
    asked = lambda name: not only or name in only
    with tempfile.TemporaryDirectory() as home:
        folder = pathlib.Path(home)
        rows, vocabulary = data(folder), folder / "vocabularies"
        vocabulary.mkdir()
        words = {name: tokenizer for name, _, tokenizer in vocabularies(vocabulary)}
        wrong = 0
        for name, model, beside, answers in cases(words):
            if asked(name):
                wrong += compare(folder, rows, name, model, beside, answers, None)
            if asked(name) and name in words:
                wrong += compare(folder, rows, f"{name}-older", model, beside, answers, vocabulary / name)
        wrong += whisper(folder, rows) if asked("whisper") else 0
        wrong += imagegpt(folder, rows) if asked("imagegpt") else 0
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
