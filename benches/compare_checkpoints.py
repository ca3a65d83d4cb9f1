#!/usr/bin/env python3
"""Speed of published architectures, here and in PyTorch, by turns on the same cores from the same weights.

    pip install torch transformers
    cargo build --release -p sensorium -p sensorium-families --example speed
    python3 benches/compare_checkpoints.py [--threads 2] [--rounds 3] [--steps 10] [--only vit-s] [--compile]

Makes checkpoints with drawn weights (the transformers library writes them), then runs the same batch through both:
training steps (AdamW with decay on matrices, clipping by global norm) and forward passes, float32. PyTorch: eager mode,
scaled dot-product attention, fused AdamW; with --compile a third side whose model went through torch.compile. First it
holds that all compute the same losses over the first steps; then it prints the median step of all rounds, the ratio of
samples/s (of the medians, and of the fastest steps, which other guests of a shared host disturb least) and that of peak
memory (each side is a process of its own, so memory holds the libraries too).
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SPEED = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"), "release/examples/speed")
# Largest relative difference of a loss.
TOLERANCE = 1e-3


def works(transformers, torch):
    """Name → model, inputs and labels, task, and the name of the loss's labels."""

    def clip():
        config = transformers.CLIPConfig(
            text_config=dict(vocab_size=1024, hidden_size=192, intermediate_size=768, num_hidden_layers=4,
                             num_attention_heads=3, max_position_embeddings=32, bos_token_id=0, eos_token_id=1023),
            vision_config=dict(hidden_size=192, intermediate_size=768, num_hidden_layers=6, num_attention_heads=3,
                               image_size=64, patch_size=8),
            projection_dim=192)
        ids = torch.randint(1, 1000, (64, 32))
        ids[:, -1] = 1023
        return transformers.CLIPModel(config), dict(input_ids=ids, pixel_values=torch.randn(64, 3, 64, 64)), "contrastive"

    def vit():
        config = transformers.ViTConfig(hidden_size=384, num_hidden_layers=12, num_attention_heads=6,
                                        intermediate_size=1536, num_labels=1000)
        inputs = dict(pixel_values=torch.randn(8, 3, 224, 224), labels=torch.randint(0, 1000, (8,)))
        return transformers.ViTForImageClassification(config), inputs, "class"

    def bert():
        config = transformers.BertConfig(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        ids = torch.randint(1000, 30000, (8, 128))
        labels = torch.where(torch.rand(8, 128) < 0.15, ids, torch.full_like(ids, -100))
        return transformers.BertForMaskedLM(config), dict(input_ids=ids, labels=labels), "labelled-tokens"

    return {"clip": clip, "vit-s": vit, "bert-base": bert}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10, help="steps a round, after two that warm up")
    parser.add_argument("--only", help="one of clip, vit-s, bert-base")
    parser.add_argument("--compile", action="store_true", help="also compare with torch.compile")
    parser.add_argument("--pytorch-alone", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        import torch
        import transformers
    except ImportError as error:
        sys.exit(f"{error.name} is not installed (pip install torch transformers): there is nothing to compare with")
    torch.set_num_threads(options.threads)
    if options.pytorch_alone:
        print(json.dumps(pytorch(torch, transformers, *options.pytorch_alone, options)))
        return
    from safetensors.torch import save_file

    torch.manual_seed(0)
    different = False
    for name, make in works(transformers, torch).items():
        if options.only not in (None, name):
            continue
        with tempfile.TemporaryDirectory() as folder:
            model, inputs, task = make()
            model.save_pretrained(folder)
            batch = f"{folder}/batch.safetensors"
            save_file({key: value.contiguous() for key, value in inputs.items()}, batch)
            different |= compare(name, folder, batch, task, options)
    sys.exit(1 if different else 0)


def compare(name, folder, batch, task, options):
    """One line for each task, the forward pass too; whether losses differ."""
    different = False
    for work in (task, "forward"):
        sides = measure(folder, batch, work, options)
        own = sides.pop("here")
        line = f"{name:10} {'forward' if work == 'forward' else 'training':9} {own.step:8.1f} ms"
        for label, side in sides.items():
            if side.problem:
                print(f"{label} cannot run {name}: {side.problem}", file=sys.stderr)
                continue
            line += (f"  {label} {side.step:8.1f} ms  samples/s x {side.step / own.step:.2f}"
                     f" (fastest x {side.fastest / own.fastest:.2f})"
                     f"  memory x {own.memory / side.memory:.2f} ({own.memory / 2**20:.0f} / {side.memory / 2**20:.0f} MiB)")
            if work != "forward":
                pairs = list(zip(own.loss, side.loss))
                far = max(abs(a - b) / abs(b) for a, b in pairs)
                different |= far > TOLERANCE
                line += f"  losses of {len(pairs)} steps differ by {far:.0e}"
        print(line, flush=True)
    return different


class Side:
    """What the rounds of one side have found."""

    def __init__(self, rounds):
        self.problem = next((found["problem"] for found in rounds if "problem" in found), None)
        if self.problem is None:
            steps = [step for found in rounds for step in found["step_ms"]]
            self.step, self.fastest = statistics.median(steps), min(steps)
            self.memory = statistics.median(found["peak_memory"] for found in rounds)
            self.loss = rounds[0]["loss"]


def measure(folder, batch, work, options):
    """Label → side, each a process of its own, by turns."""
    threads = str(options.threads)
    environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads}
    environment["TRANSFORMERS_VERBOSITY"] = "error"
    other = [sys.executable, __file__, "--pytorch-alone", folder, batch, work, "--steps", str(options.steps),
             "--threads", threads]
    commands = {"here": [str(SPEED), folder, batch, work, str(options.steps)], "PyTorch": other}
    if options.compile:
        commands["compiled"] = other + ["--compile"]
    rounds = {label: [] for label in commands}
    for _ in range(options.rounds):
        for label, command in commands.items():
            answer = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
            rounds[label].append(json.loads(answer.stdout.decode().strip().splitlines()[-1]))
    return {label: Side(found) for label, found in rounds.items()}


def pytorch(torch, transformers, folder, batch, work, options):
    from safetensors.torch import load_file

    config = json.loads(pathlib.Path(folder, "config.json").read_text())
    model = getattr(transformers, config["architectures"][0]).from_pretrained(folder, attn_implementation="sdpa")
    model.eval()  # No dropout, as the checkpoints ask for none.
    inputs = load_file(batch)
    if options.compile:
        try:
            model.compile()
            model(**inputs)
        except Exception as error:  # Whatever the compiler throws: no C++ compiler, an operation that it does not know.
            return dict(problem=f"torch.compile: {str(error).strip().splitlines()[0]}")
    step = forward(torch, model, inputs) if work == "forward" else training(torch, model, inputs, work)
    times, losses = [], []
    for number in range(options.steps + 2):
        start = time.perf_counter()
        losses.append(step())
        if number >= 2:
            times.append((time.perf_counter() - start) * 1e3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return dict(step_ms=times, rows=next(iter(inputs.values())).shape[0], loss=losses, peak_memory=peak)


def forward(torch, model, inputs):
    inputs = {key: value for key, value in inputs.items() if key != "labels"}

    def step():
        with torch.inference_mode():
            model(**inputs)

    return step


def training(torch, model, inputs, work):
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [dict(params=matrices, weight_decay=0.1), dict(params=others, weight_decay=0.0)]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.98), eps=1e-6, fused=True)
    extra = dict(return_loss=True) if work == "contrastive" else {}

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = model(**inputs, **extra).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


if __name__ == "__main__":
    main()
