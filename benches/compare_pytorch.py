#!/usr/bin/env python3
"""Training speed of a CLIP recipe, here and in PyTorch, by turns on the same cores.

    cargo build --release
    python3 benches/compare_pytorch.py [configs/emoji-clip.toml] [--threads 2] [--rounds 3] [--steps 10]

Needs an installed PyTorch. The PyTorch side is written as its users write it: nn.Module, scaled dot-product
attention, fused AdamW, eager mode, float32. It gets its batch ready-made, at the full text context (as open_clip pads);
Sensorium's side is `sensorium bench`, which reads, decodes and pads to the longest text of the batch, as training does.
Prints the median of the rounds and the ratio; each round is a process of its own.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default=str(ROOT / "configs/emoji-clip.toml"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10, help="steps a round, after two that warm up")
    parser.add_argument("--compile", action="store_true", help="torch.compile the PyTorch side")
    parser.add_argument("--pytorch-alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.pytorch_alone:
        print(json.dumps(pytorch(options)))
        return
    try:
        import torch
    except ImportError:
        sys.exit("PyTorch is not installed (pip install torch): there is nothing to compare with")
    threads = str(options.threads)
    environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads}
    own = [str(ROOT / "target/release/sensorium"), "bench", options.recipe, "--json", "--steps", str(options.steps)]
    other = [sys.executable, __file__, *sys.argv[1:], "--pytorch-alone"]
    rounds = {"Sensorium": [], f"PyTorch {torch.__version__}": []}
    for number in range(options.rounds):
        for (name, found), command in zip(rounds.items(), [own, other]):
            answer = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
            found.append(json.loads(answer.stdout))
            cost = found[-1]
            print(f"round {number + 1}  {name:24} {cost['samples_per_second']:7.1f} samples/s  {cost['step_ms']:7.0f} ms"
                  f"  {cost['peak_memory'] >> 20:5} MiB", flush=True)
    speeds = [statistics.median(cost["samples_per_second"] for cost in found) for found in rounds.values()]
    memory = [statistics.median(cost["peak_memory"] for cost in found) for found in rounds.values()]
    for name, speed in zip(rounds, speeds):
        print(f"median   {name:24} {speed:7.1f} samples/s")
    print(f"ratio    {speeds[0] / speeds[1]:.2f} of PyTorch's samples/s, {memory[0] / memory[1]:.2f} of its memory")


def pytorch(options):
    import torch
    from torch import nn
    from torch.nn import functional as F

    recipe = tomllib.loads(pathlib.Path(options.recipe).read_text())
    modalities, towers, train = recipe["modalities"], recipe["model"]["towers"], recipe["train"]
    size, patch = modalities["image"]["size"], modalities["image"]["patch"]
    context, vocabulary = modalities["text"]["context"], modalities["text"]["tokenizer"]["vocabulary"]

    class Block(nn.Module):
        def __init__(self, width, heads):
            super().__init__()
            self.heads = heads
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x, causal):
            batch, tokens, width = x.shape
            qkv = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, width // self.heads)
            query, key, value = qkv.permute(2, 0, 3, 1, 4)
            attended = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
            x = x + self.out(attended.transpose(1, 2).reshape(batch, tokens, width))
            return x + self.down(F.gelu(self.up(self.norm2(x))))

    class Tower(nn.Module):
        def __init__(self, tower, tokens, causal):
            super().__init__()
            width = tower["width"]
            self.causal = causal
            self.positions = nn.Parameter(torch.randn(tokens, width) * 0.02)
            self.blocks = nn.ModuleList(Block(width, tower["heads"]) for _ in range(tower["layers"]))
            self.norm, self.projection = nn.LayerNorm(width), nn.Linear(width, recipe["model"]["embedding"], bias=False)

        def forward(self, x, pool):
            x = x + self.positions
            for block in self.blocks:
                x = block(x, self.causal)
            return F.normalize(self.projection(self.norm(x)[:, pool]), dim=-1)

    class Clip(nn.Module):
        def __init__(self):
            super().__init__()
            width = towers["image"]["width"]
            self.patches = nn.Conv2d(3, width, patch, patch)
            self.class_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
            self.words = nn.Embedding(vocabulary, towers["text"]["width"])
            self.image = Tower(towers["image"], (size // patch) ** 2 + 1, False)
            self.text = Tower(towers["text"], context, towers["text"].get("attention") == "causal")
            self.temperature = nn.Parameter(torch.tensor(2.659))

        def forward(self, images, texts):
            patches = self.patches(images).flatten(2).transpose(1, 2)
            patches = torch.cat([self.class_token.expand(len(images), -1, -1), patches], 1)
            image, text = self.image(patches, 0), self.text(self.words(texts), -1)
            logits = self.temperature.exp() * image @ text.T
            labels = torch.arange(len(images))
            return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2

    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    model = Clip()
    step_model = torch.compile(model) if options.compile else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2, fused=True)
    images = torch.randn(train["batch"], 3, size, size)
    texts = torch.randint(0, vocabulary, (train["batch"], context))
    times = []
    for _ in range(options.steps + 2):
        start = time.perf_counter()
        loss = step_model(images, texts)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        times.append(time.perf_counter() - start)
    step = statistics.median(times[2:])
    peak = re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())
    return {"samples_per_second": train["batch"] / step, "step_ms": step * 1e3, "peak_memory": int(peak[1]) << 10}


if __name__ == "__main__":
    main()
