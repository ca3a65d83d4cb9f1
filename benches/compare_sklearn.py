"""Splits of the reference tables, and scikit-learn's gradient boosting and random forest on them.

    python benches/compare_sklearn.py prepare SHARED OUT     tables with a column `part`, three seeds each
    python benches/compare_sklearn.py compare OUT            both models on each, as JSON beside the tables
    python benches/compare_sklearn.py table OUT              what was reached, a row a data set

`configs/finetune.sh` calls all three. Needs numpy, pandas, pyarrow and scikit-learn.
"""

import json
import pathlib
import re
import shutil
import sys

import numpy as np
import pandas as pd

SEEDS = (0, 1, 2)
# The label, the metric that is compared, and further options of `finetune`.
SETS = {
    "adult": ("income", "AUROC", []),
    "titanic": ("survived", "accuracy", ["--folds", "5"]),
    "titanic-table": ("survived", "accuracy", ["--columns", "drop=name", "--folds", "5"]),
    "heart": ("target > 0", "accuracy", ["--folds", "5"]),
    "breast": ("label", "accuracy", ["--problem", "classes"]),
    "retina": ("label", "accuracy", ["--problem", "classes"]),
    "sounds": ("category", "accuracy", ["--columns", "drop=fold"]),
    "xray": ("covid", "AUROC", ["--columns", "drop=finding,licence,patient"]),
    "esol": ("measured log solubility in mols per litre", "RMSE", []),
    "bbbp": ("p_np", "AUROC", ["--columns", "drop=num,name"]),
    "gb1": ("target", "Spearman", []),
}
FILES = {
    "adult": "tables/adult-train.csv",
    "titanic": "tables/titanic.csv",
    "titanic-table": "tables/titanic.csv",
    "heart": "tables/heart_cleveland.csv",
    "esol": "molecules/esol_delaney.csv",
    "bbbp": "molecules/BBBP.csv",
    "gb1": "proteins/gb1_three_vs_rest_train.csv",
}
MISSING = ["?", "NA", "NaN", "null", ""]


def main():
    command, *rest = sys.argv[1:] or ["help"]
    if command == "prepare" and len(rest) == 2:
        prepare(pathlib.Path(rest[0]), pathlib.Path(rest[1]))
    elif command == "compare" and len(rest) == 1:
        compare(pathlib.Path(rest[0]))
    elif command == "options" and len(rest) == 1:
        label, _, options = SETS[rest[0]]
        print("\n".join(["--label", label, *options]))
    elif command == "table" and len(rest) == 1:
        table(pathlib.Path(rest[0]))
    else:
        sys.exit(__doc__)


def prepare(shared, out):
    for name in SETS:
        for seed in SEEDS:
            folder = out / f"{name}-seed{seed}"
            if folder.joinpath("done").exists():
                continue
            folder.mkdir(parents=True, exist_ok=True)
            MAKE.get(name, plain)(shared, folder, name, seed)
            folder.joinpath("done").touch()


def read(path):
    return pd.read_csv(path, skipinitialspace=True, na_values=MISSING, keep_default_na=False)


def truth(frame, label):
    """The label, where it may be a question about a column."""
    if label in frame:
        return frame[label]
    column, limit = label.split(">")
    return np.where(frame[column.strip()] > float(limit), "yes", "no")


def plain(shared, folder, name, seed):
    """A fifth for testing, classes in equal shares, by a permutation that the seed draws."""
    frame = read(shared / FILES[name])
    if name == "esol":
        frame = frame.drop(columns=[column for column in frame if "predicted" in column])
    label = SETS[name][0]
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(frame))
    label = truth(frame, label)
    if len(set(label)) < 10:
        order = order[np.argsort(pd.factorize(label)[0][order], kind="stable")]
    part = np.full(len(frame), "train", dtype=object)
    part[order[::5]] = "test"
    frame.assign(part=part).to_csv(folder / "cases.csv", index=False)


def pictures(shared, folder, name, seed):
    """The published training and validation files; the latter is tested on."""
    sides = [("train", "train"), ("val", "test")]
    frames = [pd.read_parquet(shared / name / f"{file}-00000-of-00001.parquet").assign(part=part) for file, part in sides]
    pd.concat(frames, ignore_index=True).to_parquet(folder / "cases.parquet")


def sounds(shared, folder, name, seed):
    """Trained on one fold, tested on the other."""
    frame = read(shared / "sounds/clips.csv")
    frame["part"] = np.where(frame["fold"] == 1 + seed % 2, "train", "test")
    shutil.copytree(shared / "sounds/audio", folder / "audio", dirs_exist_ok=True)
    frame.to_csv(folder / "cases.csv", index=False)


def xray(shared, folder, name, seed):
    """COVID-19 or not, with the words that name a diagnosis taken out, so that no mark tells where they were; a fifth of the patients is tested on."""
    frame = read(shared / "xray/cases.csv")
    frame = frame[frame["finding"] != "todo"]
    words = pathlib.Path(__file__).parent.parent.joinpath("configs/diagnosis-words.txt").read_text().split("\n")
    words = [word for word in words if word and not word.startswith("#")]
    pattern = re.compile(r"\b(?:" + "|".join(sorted(map(re.escape, words), key=len, reverse=True)) + r")\b", re.IGNORECASE)
    frame["notes"] = frame["notes"].map(lambda note: pattern.sub("", note) if isinstance(note, str) else note)
    frame["covid"] = np.where(frame["finding"].str.contains("COVID"), "yes", "no")
    patients = np.random.default_rng(seed).permutation(frame["patient"].unique())
    frame["part"] = np.where(frame["patient"].isin(patients[::5]), "test", "train")
    shutil.copytree(shared / "xray/images", folder / "images", dirs_exist_ok=True)
    frame.to_csv(folder / "cases.csv", index=False)


MAKE = {"breast": pictures, "retina": pictures, "sounds": sounds, "xray": xray}


def compare(out):
    from sklearn.ensemble import (
        GradientBoostingClassifier,
        GradientBoostingRegressor,
        RandomForestClassifier,
        RandomForestRegressor,
    )

    kinds = {
        "gradient boosting": (GradientBoostingClassifier, GradientBoostingRegressor),
        "random forest": (lambda **k: RandomForestClassifier(400, **k), lambda **k: RandomForestRegressor(400, **k)),
    }
    for name, (label, metric, _) in SETS.items():
        for seed in SEEDS:
            folder = out / f"{name}-seed{seed}"
            done = folder / "sklearn.json"
            if done.exists() or not folder.joinpath("cases.csv").exists() or name == "sounds":
                continue
            frame = read(folder / "cases.csv")
            y = pd.Series(truth(frame, label))
            x = features(frame, label, name)
            train, test = frame["part"] == "train", frame["part"] == "test"
            regress = metric in ("RMSE", "Spearman")
            found = {}
            for kind, (classifier, regressor) in kinds.items():
                model = (regressor if regress else classifier)(random_state=seed)
                model.fit(x[train], y[train])
                found[kind] = measure(model, x[test], y[test], metric)
            done.write_text(json.dumps(found))
            print(name, seed, found, flush=True)


def features(frame, label, name):
    """Numbers as they are, categories as one column each, the characters of molecules and proteins counted."""
    drop = {"part", label, label.split(">")[0].strip(), "num", "name", "ticket", "cabin", "Compound ID", "image"}
    drop |= {"finding", "licence", "patient", "notes", "location"}
    parts = []
    for column in frame.columns.difference(sorted(drop)):
        cells = frame[column]
        if column == "smiles":
            letters = sorted(set("".join(cells)))
            parts.append(pd.DataFrame({f"smiles {c}": cells.str.count(re.escape(c)) for c in letters}))
        elif column == "sequence":
            longest = cells.str.len().max()
            codes = np.array([[ord(c) for c in text.ljust(longest)] for text in cells])
            varying = [at for at in range(longest) if len(set(codes[:, at])) > 1]
            parts.append(pd.get_dummies(pd.DataFrame(codes[:, varying]).astype(str)))
        elif pd.api.types.is_numeric_dtype(cells):
            parts.append(cells.fillna(cells.median()).to_frame())
        else:
            parts.append(pd.get_dummies(cells.fillna("missing").astype(str), prefix=column))
    joined = pd.concat(parts, axis=1)
    joined.columns = [str(number) for number in range(joined.shape[1])]
    return joined


def measure(model, x, y, metric):
    from sklearn.metrics import accuracy_score, roc_auc_score, root_mean_squared_error

    if metric == "accuracy":
        return float(accuracy_score(y, model.predict(x)))
    if metric == "AUROC":
        return float(roc_auc_score(y, model.predict_proba(x)[:, 1]))
    if metric == "RMSE":
        return float(root_mean_squared_error(y, model.predict(x)))
    return float(pd.Series(model.predict(x)).corr(y.reset_index(drop=True), method="spearman"))


def table(out):
    print("| data | metric | Sensorium (each seed) | gradient boosting | random forest |\n|---|---|---|---|---|")
    for name, (_, metric, _) in SETS.items():
        own, others = [], {"gradient boosting": [], "random forest": []}
        for seed in SEEDS:
            run = out / f"{name}-seed{seed}" / "run" / "judgement.json"
            if run.exists():
                measures = {m["metric"].lower(): m["value"] for m in json.loads(run.read_text())["measures"]}
                own.append(measures[metric.lower()])
            beside = out / f"{name}-seed{seed}" / "sklearn.json"
            if beside.exists():
                for kind, value in json.loads(beside.read_text()).items():
                    others[kind].append(value)
        mean = lambda values: f"{np.mean(values):.3f}" if values else "–"
        each = f" ({', '.join(f'{value:.3f}' for value in own)})" if own else ""
        print(f"| {name} | {metric} | {mean(own)}{each} | " + " | ".join(map(mean, others.values())) + " |")


if __name__ == "__main__":
    main()
