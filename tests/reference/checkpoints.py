#!/usr/bin/env python3
"""Makes reference cases of the checkpoint families with the transformers library, of sizes drawn from a seed.

    pip install torch transformers
    python3 tests/reference/checkpoints.py OUT [--seed 1] [--only bert,t5]
    SENSORIUM_CASES=OUT cargo test --release -p sensorium-families further_cases

Each case is a folder: config.json and model.safetensors as `save_pretrained` writes them, with every parameter drawn
at random, and io.safetensors with `in.*` (what goes in) and `out.*` (what the model answers).
With `--check FOLDER` nothing is made: every folder below FOLDER that `sensorium export` wrote beside an
io.safetensors is loaded, run and compared.
"""

import argparse
import json
import pathlib
import random
import sys

try:
    import torch
    import transformers
    from safetensors.torch import load_file, save_file
except ImportError as error:
    sys.exit(f"{error.name} is not installed (pip install torch transformers): no reference can be computed")

TOLERANCE = 1e-4


class Draw:
    """Sizes of one case."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.heads = self.rng.choice([1, 2, 3, 5])
        self.head_width = self.rng.choice([4, 6, 8])
        self.width = self.heads * self.head_width
        self.layers = self.rng.choice([1, 2, 3])
        self.hidden = self.rng.choice([20, 36, 50])
        self.vocabulary = self.rng.choice([61, 77, 103])
        self.patch = self.rng.choice([4, 6])
        self.side = self.patch * self.rng.choice([2, 3, 4])
        self.rows, self.tokens = self.rng.choice([2, 3]), self.rng.choice([5, 9, 12])
        self.generator = torch.Generator().manual_seed(seed)

    def ids(self, low=3, tokens=None, vocabulary=None):
        shape = (self.rows, tokens or self.tokens)
        return torch.randint(low, vocabulary or self.vocabulary, shape, generator=self.generator)

    def floats(self, *shape):
        return torch.randn(shape, generator=self.generator)

    def mask(self, tokens=None):
        """The last row ends early."""
        mask = torch.ones(self.rows, tokens or self.tokens, dtype=torch.int64)
        mask[-1, -2:] = 0
        return mask

    def text(self, pad=0):
        ids, mask = self.ids(), self.mask()
        return {"input_ids": torch.where(mask == 1, ids, pad), "attention_mask": mask}

    def bert(self, **further):
        return dict(vocab_size=self.vocabulary, hidden_size=self.width, num_hidden_layers=self.layers,
                    num_attention_heads=self.heads, intermediate_size=self.hidden, max_position_embeddings=30) | further

    def vit(self, **further):
        return dict(hidden_size=self.width, num_hidden_layers=self.layers, num_attention_heads=self.heads,
                    intermediate_size=self.hidden, image_size=self.side, patch_size=self.patch) | further

    def pixels(self):
        return {"pixel_values": self.floats(self.rows, 3, self.side, self.side)}


def cases(draw):
    """Name, model, inputs and the names of the answers."""
    t, d = transformers, draw
    kinds = {"token_type_ids": d.ids(0, vocabulary=2)}
    yield "bert", t.BertForPreTraining(t.BertConfig(**d.bert())), d.text() | kinds, \
        ["prediction_logits", "seq_relationship_logits"]
    yield "bert-base", t.BertModel(t.BertConfig(**d.bert(hidden_act="relu"))), d.text(), \
        ["last_hidden_state", "pooler_output"]
    roberta = d.bert(pad_token_id=1, max_position_embeddings=32, type_vocab_size=1)
    yield "roberta", t.RobertaForMaskedLM(t.RobertaConfig(**roberta)), d.text(1), ["logits"]
    yield "distilbert", t.DistilBertForMaskedLM(t.DistilBertConfig(
        vocab_size=d.vocabulary, dim=d.width, n_layers=d.layers, n_heads=d.heads, hidden_dim=d.hidden,
        max_position_embeddings=30)), d.text(), ["logits"]
    yield "esm", t.EsmForMaskedLM(t.EsmConfig(**d.bert(
        pad_token_id=1, mask_token_id=32, position_embedding_type="rotary", token_dropout=True))), d.text(1), ["logits"]
    tapas = d.bert(type_vocab_sizes=[3, 9, 9, 2, 9, 9, 4])
    kinds7 = torch.stack([d.ids(0, vocabulary=n) for n in [3, 9, 9, 2, 9, 9, 4]], -1)
    yield "tapas", t.TapasForMaskedLM(t.TapasConfig(**tapas)), d.text() | {"token_type_ids": kinds7}, ["logits"]
    yield "clap", t.ClapTextModelWithProjection(t.ClapTextConfig(**d.bert(
        pad_token_id=1, max_position_embeddings=32, projection_dim=11))), d.text(1), ["text_embeds"]
    gpt = dict(vocab_size=d.vocabulary, n_positions=30, n_embd=d.width, n_layer=d.layers, n_head=d.heads)
    yield "gpt2", t.GPT2LMHeadModel(t.GPT2Config(**gpt, n_inner=d.hidden)), d.text(), ["logits"]
    yield "openai-gpt", t.OpenAIGPTLMHeadModel(t.OpenAIGPTConfig(**gpt)), d.text(), ["logits"]
    yield "imagegpt", t.ImageGPTForCausalImageModeling(t.ImageGPTConfig(**gpt, n_inner=d.hidden)), \
        {"input_ids": d.ids(0)}, ["logits"]
    yield "llama", t.LlamaForCausalLM(t.LlamaConfig(
        vocab_size=d.vocabulary, hidden_size=d.width * 2, num_hidden_layers=d.layers, num_attention_heads=2 * d.heads,
        num_key_value_heads=d.heads, intermediate_size=d.hidden, max_position_embeddings=30,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0}, tie_word_embeddings=True)), d.text(), ["logits"]
    t5 = dict(vocab_size=d.vocabulary, d_model=d.width, d_kv=10, d_ff=d.hidden, num_layers=d.layers,
              num_decoder_layers=d.layers + 1, num_heads=d.heads, relative_attention_num_buckets=8,
              relative_attention_max_distance=20, decoder_start_token_id=0)
    answers = {"decoder_input_ids": d.ids(tokens=7)}
    yield "t5", t.T5ForConditionalGeneration(t.T5Config(**t5)), d.text() | answers, ["logits"]
    yield "t5-v1_1", t.T5ForConditionalGeneration(t.T5Config(
        **t5, feed_forward_proj="gated-gelu", tie_word_embeddings=False)), d.text() | answers, ["logits"]
    bart = dict(vocab_size=d.vocabulary, d_model=d.width, encoder_layers=d.layers, decoder_layers=d.layers + 1,
                encoder_attention_heads=d.heads, decoder_attention_heads=d.heads, encoder_ffn_dim=d.hidden,
                decoder_ffn_dim=d.hidden + 2, max_position_embeddings=30)
    yield "bart", t.BartForConditionalGeneration(t.BartConfig(**bart, scale_embedding=True)), d.text(1) | answers, \
        ["logits", "encoder_last_hidden_state"]
    bart.pop("max_position_embeddings")
    yield "whisper", t.WhisperForConditionalGeneration(t.WhisperConfig(
        **bart, num_mel_bins=12, max_source_positions=14, max_target_positions=20, pad_token_id=1, bos_token_id=2,
        eos_token_id=2, decoder_start_token_id=3)), \
        {"input_features": d.floats(d.rows, 12, 28)} | answers, ["logits", "encoder_last_hidden_state"]
    yield "vit", t.ViTForImageClassification(t.ViTConfig(**d.vit(qkv_bias=False), num_labels=5)), d.pixels(), ["logits"]
    patches = (d.side // d.patch) ** 2
    yield "vit_mae", t.ViTMAEForPreTraining(t.ViTMAEConfig(
        **d.vit(), decoder_hidden_size=d.width + d.width, decoder_num_attention_heads=d.heads,
        decoder_num_hidden_layers=2, decoder_intermediate_size=d.hidden, mask_ratio=0.5, norm_pix_loss=False)), \
        d.pixels() | {"noise": torch.rand(d.rows, patches, generator=d.generator)}, ["loss", "logits", "mask", "ids_restore"]
    dinov2 = d.vit(mlp_ratio=3)
    dinov2.pop("intermediate_size")
    yield "dinov2", t.Dinov2Model(t.Dinov2Config(**dinov2)), d.pixels(), ["last_hidden_state", "pooler_output"]
    yield "dinov2-swiglu", t.Dinov2Model(t.Dinov2Config(**dinov2, use_swiglu_ffn=True)), d.pixels(), \
        ["last_hidden_state", "pooler_output"]
    ast = d.vit(patch_size=6, num_mel_bins=16, max_length=29, frequency_stride=5, time_stride=4)
    ast.pop("image_size")
    yield "ast", t.ASTForAudioClassification(t.ASTConfig(**ast, num_labels=4)), \
        {"input_values": d.floats(d.rows, 29, 16)}, ["logits"]
    for stable, norm in [(False, "group"), (True, "layer")]:
        yield f"wav2vec2-{norm}", t.Wav2Vec2Model(t.Wav2Vec2Config(
            **{key: value for key, value in d.bert().items() if key not in ("max_position_embeddings",)},
            conv_dim=[6, 6], conv_kernel=[5, 3], conv_stride=[3, 2], num_feat_extract_layers=2, conv_bias=stable,
            do_stable_layer_norm=stable, feat_extract_norm=norm, num_conv_pos_embeddings=5,
            num_conv_pos_embedding_groups=d.heads, mask_time_prob=0.0)), \
            {"input_values": d.floats(d.rows, 200)}, ["last_hidden_state", "extract_features"]
    clip_text = d.bert(eos_token_id=d.vocabulary - 1, bos_token_id=0, pad_token_id=1)
    ends = d.text(1)
    ends["input_ids"][:, -3] = d.vocabulary - 1
    yield "clip", t.CLIPModel(t.CLIPConfig(text_config=clip_text, vision_config=d.vit(), projection_dim=9)), \
        ends | d.pixels(), ["logits_per_image", "image_embeds", "text_embeds"]
    siglip_text = d.bert(max_position_embeddings=d.tokens)
    yield "siglip", t.SiglipModel(t.SiglipConfig(text_config=siglip_text, vision_config=d.vit())), \
        {"input_ids": d.ids()} | d.pixels(), ["logits_per_image", "image_embeds", "text_embeds"]
    flava = dict(text_config=d.bert(), image_config=d.vit(), multimodal_config=dict(
        hidden_size=d.width, num_hidden_layers=1, num_attention_heads=d.heads, intermediate_size=d.hidden),
        projection_dim=10, hidden_size=d.width)
    yield "flava", t.FlavaModel(t.FlavaConfig(**flava)), d.text() | d.pixels(), \
        ["image_embeddings", "text_embeddings", "multimodal_embeddings"]
    yield "vilt", t.ViltForMaskedLM(t.ViltConfig(**(d.vit() | d.bert()))), \
        d.text() | kinds | d.pixels() | {"pixel_mask": torch.ones(d.rows, d.side, d.side, dtype=torch.int64)}, ["logits"]
    yield from options(draw)
    steps = 5
    yield "decision_transformer", t.DecisionTransformerModel(t.DecisionTransformerConfig(
        state_dim=4, act_dim=2, hidden_size=d.width, max_ep_len=30, n_layer=d.layers, n_head=d.heads, n_positions=40)), \
        {"states": d.floats(d.rows, steps, 4), "actions": d.floats(d.rows, steps, 2),
         "rewards": d.floats(d.rows, steps, 1), "returns_to_go": d.floats(d.rows, steps, 1),
         "timesteps": torch.arange(steps).repeat(d.rows, 1), "attention_mask": torch.ones(d.rows, steps)}, \
        ["state_preds", "action_preds", "return_preds"]


def options(draw):
    """Options that change how a family computes."""
    t, d = transformers, draw
    answers = {"decoder_input_ids": d.ids(tokens=7)}
    bart = dict(vocab_size=d.vocabulary, d_model=d.width, encoder_layers=d.layers, decoder_layers=d.layers + 1,
                encoder_attention_heads=d.heads, decoder_attention_heads=d.heads, encoder_ffn_dim=d.hidden,
                decoder_ffn_dim=d.hidden + 2, max_position_embeddings=30)
    yield "mbart", t.MBartForConditionalGeneration(t.MBartConfig(**bart, scale_embedding=True)), d.text(1) | answers, \
        ["logits", "encoder_last_hidden_state"]
    yield "mbart-plain", t.MBartModel(t.MBartConfig(**bart, scale_embedding=False, activation_function="relu")), \
        d.text(1) | answers, ["last_hidden_state"]
    clip_text = t.CLIPTextConfig(**d.bert(eos_token_id=d.vocabulary - 1, bos_token_id=0, pad_token_id=1), projection_dim=9)
    ends = d.text(1)
    ends["input_ids"][:, -3] = d.vocabulary - 1
    clip_vision = t.CLIPVisionConfig(**d.vit(), projection_dim=9)
    yield "clip-text", t.CLIPTextModel(clip_text), ends, ["last_hidden_state", "pooler_output"]
    yield "clip-text-projection", t.CLIPTextModelWithProjection(clip_text), ends, ["text_embeds", "last_hidden_state"]
    yield "clip-vision", t.CLIPVisionModel(clip_vision), d.pixels(), ["last_hidden_state", "pooler_output"]
    yield "clip-vision-projection", t.CLIPVisionModelWithProjection(clip_vision), d.pixels(), \
        ["image_embeds", "last_hidden_state"]
    yield "siglip-text", t.SiglipTextModel(t.SiglipTextConfig(**d.bert(max_position_embeddings=d.tokens))), \
        {"input_ids": d.ids()}, ["last_hidden_state", "pooler_output"]
    yield "siglip-vision", t.SiglipVisionModel(t.SiglipVisionConfig(**d.vit())), d.pixels(), \
        ["last_hidden_state", "pooler_output"]
    mask = torch.ones(d.rows, d.side, d.side, dtype=torch.int64)
    mask[-1, -d.patch:], mask[0, :, -d.patch:] = 0, 0
    vilt = t.ViltConfig(**(d.vit() | d.bert()))
    yield "vilt-partial", t.ViltForMaskedLM(vilt), d.text() | d.pixels() | {"pixel_mask": mask}, ["logits"]
    llama = dict(vocab_size=d.vocabulary, hidden_size=d.width * 2, num_hidden_layers=d.layers,
                 num_attention_heads=2 * d.heads, num_key_value_heads=d.heads, intermediate_size=d.hidden,
                 max_position_embeddings=64)
    far = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
           "original_max_position_embeddings": 16}
    yield "llama3", t.LlamaForCausalLM(t.LlamaConfig(**llama, rope_parameters=far)), d.text(), ["logits"]
    linear = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
    yield "llama-linear", t.LlamaForCausalLM(t.LlamaConfig(**llama, rope_parameters=linear)), d.text(), ["logits"]
    yield "llama-biased", t.LlamaForCausalLM(t.LlamaConfig(**llama, attention_bias=True, mlp_bias=True, head_dim=12)), \
        d.text(), ["logits"]
    yield "esm-untied", t.EsmForMaskedLM(t.EsmConfig(**d.bert(
        pad_token_id=1, mask_token_id=32, position_embedding_type="rotary", emb_layer_norm_before=True,
        tie_word_embeddings=False))), d.text(1), ["logits"]
    yield "esm-absolute", t.EsmForMaskedLM(t.EsmConfig(**d.bert(
        pad_token_id=1, mask_token_id=32, position_embedding_type="absolute", token_dropout=False))), d.text(1), ["logits"]
    tapas = d.bert(type_vocab_sizes=[3, 9, 9, 2, 9, 9, 4], tie_word_embeddings=False)
    kinds = torch.stack([d.ids(0, vocabulary=n) for n in [3, 9, 9, 2, 9, 9, 4]], -1)
    yield "tapas-untied", t.TapasForMaskedLM(t.TapasConfig(**tapas)), d.text() | {"token_type_ids": kinds}, ["logits"]
    yield "bert-untied", t.BertForMaskedLM(t.BertConfig(**d.bert(tie_word_embeddings=False))), d.text(), ["logits"]
    gpt = dict(vocab_size=d.vocabulary, n_positions=30, n_embd=d.width, n_layer=d.layers, n_head=d.heads)
    yield "gpt2-unscaled", t.GPT2LMHeadModel(t.GPT2Config(
        **gpt, scale_attn_weights=False, activation_function="relu", tie_word_embeddings=False)), d.text(), ["logits"]


def answers_of(model, inputs, names):
    with torch.no_grad():
        found = model.eval()(**inputs)
    return {name: getattr(found, name).contiguous() for name in names}


def make(folder, seed, only):
    for name, model, inputs, names in cases(Draw(seed)):
        if only and name not in only:
            continue
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
        case = folder / f"{name}-{seed}"
        model.save_pretrained(case)
        io = {f"in.{key}": value.contiguous() for key, value in inputs.items()}
        io |= {f"out.{key}": value for key, value in answers_of(model, inputs, names).items()}
        save_file(io, case / "io.safetensors")
        print(case)


def check(folder):
    """Whether the transformers library loads what was exported, and answers alike."""
    wrong = 0
    for io in sorted(folder.glob("*/io.safetensors")):
        tensors = load_file(io)
        model_class = json.loads((io.parent / "config.json").read_text())["architectures"][0]
        model = getattr(transformers, model_class).from_pretrained(io.parent)
        part = lambda prefix: {key[len(prefix):]: value for key, value in tensors.items() if key.startswith(prefix)}
        expected = part("out.")
        found = answers_of(model, part("in."), expected)
        far = max((found[key].float() - expected[key].float()).abs().max().item() for key in expected)
        wrong += far > TOLERANCE
        print(f"{io.parent.name:24} {model_class:36} {far:.1e}{'  TOO FAR' if far > TOLERANCE else ''}")
    sys.exit(1 if wrong else 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=lambda names: names.split(","))
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if options.check:
        check(options.folder)
    make(options.folder, options.seed, options.only)


if __name__ == "__main__":
    main()
