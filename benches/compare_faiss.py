"""Exact scan and HNSW of `sensorium index` against faiss-cpu's IndexFlatIP, on the same vectors and threads, in turns.

    pip install numpy pyarrow faiss-cpu
    cargo build --release -p sensorium-retrieve --example bench_index
    python benches/compare_faiss.py [--vectors 200000] [--threads 2] [--rounds 5]

Vectors are drawn from a mixture of 2,000 Gaussians (seeded) and brought to length 1; queries from the same mixture.
Each round times every method once, so that what else the machine does meets all alike; medians are compared.
Without faiss, it says so and compares HNSW with our own exact scan alone.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
K = 10


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=200_000)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--clusters", type=int, default=2_000)
    parser.add_argument("--spread", type=float, default=0.5, help="of a Gaussian, where centres have spread 1")
    parser.add_argument("--queries", type=int, default=1_000, help="of the graph and of a batch")
    parser.add_argument("--scans", type=int, default=50, help="single queries of an exact scan in a round")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--program", default=ROOT / "target/release/examples/bench_index")
    return parser.parse_args()


def draw(options):
    import numpy as np

    rng = np.random.default_rng(options.seed)
    centres = rng.standard_normal((options.clusters, options.width), dtype=np.float32)

    def some(count):
        chosen = centres[rng.integers(options.clusters, size=count)]
        points = chosen + options.spread * rng.standard_normal(chosen.shape, dtype=np.float32)
        return points / np.linalg.norm(points, axis=1, keepdims=True)

    return some(options.vectors), some(options.queries)


def store(vectors, path):
    """What `sensorium index` reads, written by another program."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    keys = pa.array([str(row) for row in range(len(vectors))])
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    table = pa.table({"key": keys, "modality": pa.array(["text"] * len(vectors)), "vector": lists})
    pq.write_table(table, path)


class Ours:
    def __init__(self, options, folder, vectors, queries):
        store(vectors, folder / "E.parquet")
        queries.tofile(folder / "queries.f32")
        command = [options.program, folder / "E.parquet", folder / "queries.f32", folder / "index"]
        environment = os.environ | {"RAYON_NUM_THREADS": str(options.threads)}
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.built = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"bench_index ended with {self.process.wait()}")
        return json.loads(line)

    def run(self, what, count):
        self.process.stdin.write(f"{what} {count}\n")
        self.process.stdin.flush()
        answer = self.answer()
        return answer["seconds"], answer["rows"]


class Faiss:
    def __init__(self, options, vectors, queries):
        import faiss

        faiss.omp_set_num_threads(options.threads)
        self.version = faiss.__version__
        self.index = faiss.IndexFlatIP(vectors.shape[1])
        self.index.add(vectors)
        self.queries = queries

    def run(self, what, count):
        begin = time.perf_counter()
        if what == "batch":
            rows = self.index.search(self.queries[:count], K)[1].tolist()
        else:
            rows = [self.index.search(self.queries[i : i + 1], K)[1][0].tolist() for i in range(count)]
        return time.perf_counter() - begin, rows


def shared(found, truth):
    return sum(len(set(a) & set(b)) for a, b in zip(found, truth)) / sum(map(len, truth))


def main():
    options = arguments()
    vectors, queries = draw(options)
    try:
        theirs = Faiss(options, vectors, queries)
    except ImportError:
        theirs = None
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(options, Path(folder), vectors, queries)
        print(f"{options.vectors} vectors of {options.width}, {options.clusters} clusters, {options.threads} threads")
        print(f"index built in {ours.built['build_seconds']:.1f} s, recall@10 it says {ours.built['recall_at_10']:.4f}")
        tasks = {
            "HNSW, single": (ours, "graph", options.queries),
            "scan, single": (ours, "scan", options.scans),
            "scan, batch": (ours, "batch", options.queries),
        }
        if theirs:
            tasks["faiss, single"] = (theirs, "scan", options.scans)
            tasks["faiss, batch"] = (theirs, "batch", options.queries)
        else:
            print("faiss is not installed (pip install faiss-cpu): no comparison with it")
        seconds, rows = {name: [] for name in tasks}, {}
        for _ in range(options.rounds):
            for name, (side, what, count) in tasks.items():
                taken, rows[name] = side.run(what, count)
                seconds[name].append(taken / count)
    each = {name: statistics.median(taken) for name, taken in seconds.items()}
    for name, taken in each.items():
        print(f"{name:14} {taken * 1e3:9.3f} ms a query")
    print(f"HNSW: recall@10 {shared(rows['HNSW, single'], rows['scan, batch']):.4f} (to reach: 0.98)")
    print(f"HNSW is {each['scan, single'] / each['HNSW, single']:.1f} × as fast as the scan (to reach: 10)")
    if theirs:
        print(f"the scan finds {shared(rows['scan, batch'], rows['faiss, batch']):.4f} of what faiss {theirs.version} finds")
        for kind in ["single", "batch"]:
            ratio = each[f"scan, {kind}"] / each[f"faiss, {kind}"]
            print(f"{kind}: the scan takes {ratio:.2f} × the time of faiss (to reach: at most 1.5)")


if __name__ == "__main__":
    main()
