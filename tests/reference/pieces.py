"""T5's tokenizer from its `spiece.model`, as the transformers library makes it.

    python tests/reference/pieces.py TEXT.txt              # writes pieces.json: a small model, texts and their ids
    python tests/reference/pieces.py TEXT.txt DIRECTORY    # a model of T5's own normalisation; ids of the lines of TEXT

The second form leaves `config.json`, `spiece.model` and `ids.json` in DIRECTORY; the test
`larger_models_of_pieces_agree` reads it where `SENSORIUM_PIECES` names it.
Made with sentencepiece 0.2.3 and transformers 5.24.
"""

import base64
import json
import sys
from pathlib import Path

import sentencepiece
from transformers import T5Tokenizer

TEXTS = [
    "The quick brown fox.", "  two  blanks\tand a tab ", "", " ", "Zürich, 日本 and the ﬁrst ﬂag", "unknown: ☃ 𝄞 ж",
    "</s> in a text", "<extra_id_0> left out <extra_id_99>", "▁ is a blank", "line\nbreak", "ＡＢＣ full width",
    "what,is't;this?", "a" * 40, "éèà ç", "one<pad>two", "<extra_id_100>", "the The THE",
]
# What the small model's normalisation knows: ligatures and wide letters, so that its table stays small.
RULES = "FB01\t66 69\nFB02\t66 6C\nFF21\t41\nFF22\t42\nFF23\t43\n9\t20\nA\t20\n"


def train(text, prefix, size, **options):
    sentencepiece.SentencePieceTrainer.train(
        input=text, model_prefix=str(prefix), vocab_size=size, model_type="unigram", pad_id=0, eos_id=1, unk_id=2,
        bos_id=-1, num_threads=1, minloglevel=2, **options,
    )
    return Path(f"{prefix}.model")


def ids(directory, texts):
    tokenizer = T5Tokenizer.from_pretrained(directory)
    return [tokenizer(text).input_ids for text in texts]


def main():
    text, home = sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else "/tmp/pieces")
    home.mkdir(parents=True, exist_ok=True)
    (home / "config.json").write_text(json.dumps({"model_type": "t5"}))
    if len(sys.argv) > 2:
        train(text, home / "spiece", 2000)
        texts = TEXTS + [line for line in Path(text).read_text().splitlines() if line][:600]
        (home / "ids.json").write_text(json.dumps({"texts": texts, "ids": ids(home, texts)}))
        return
    (home / "rules.tsv").write_text(RULES)
    model = train(text, home / "spiece", 200, normalization_rule_tsv=str(home / "rules.tsv"), character_coverage=0.98)
    case = {"model": base64.b64encode(model.read_bytes()).decode(), "texts": TEXTS, "ids": ids(home, TEXTS)}
    Path(__file__).with_name("pieces.json").write_text(json.dumps(case, indent=1) + "\n")


if __name__ == "__main__":
    main()
