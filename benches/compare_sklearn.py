"""Splits of the reference tables, and scikit-learn's gradient boosting and random forest on them.

    python benches/compare_sklearn.py prepare SHARED OUT     tables with a column `part`, three seeds each
    python benches/compare_sklearn.py compare OUT            both models on each, as JSON beside the tables
    python benches/compare_sklearn.py table OUT              what was reached, a row a data set

`configs/finetune.sh` calls all three. Needs Python 3.11, numpy, pandas, pyarrow and scikit-learn, and for the scaffold
splits of molecules rdkit, without which these are left out.
"""

import json
import pathlib
import re
import shutil
import sys
import tomllib

import numpy as np
import pandas as pd

SEEDS = (0, 1, 2)
# What is compared of each; label and options are those of `configs/finetune/NAME.toml`, up to what follows a `.`.
METRICS = {
    "adult": "AUROC",
    "titanic": "accuracy",
    "titanic-table": "accuracy",
    "heart": "accuracy",
    "breast": "accuracy",
    "retina": "accuracy",
    "sounds": "accuracy",
    "xray": "AUROC",
    "esol": "RMSE",
    "esol.scaffold": "RMSE",
    "bbbp": "AUROC",
    "bbbp.scaffold": "AUROC",
    "gb1": "Spearman",
}
RECIPES = pathlib.Path(__file__).parent.parent / "configs/finetune"
FILES = {
    "adult": "tables/adult-train.csv",
    "titanic": "tables/titanic.csv",
    "titanic-table": "tables/titanic.csv",
    "heart": "tables/heart_cleveland.csv",
    "esol": "molecules/esol_delaney.csv",
    "esol.scaffold": "molecules/esol_delaney.csv",
    "bbbp": "molecules/BBBP.csv",
    "bbbp.scaffold": "molecules/BBBP.csv",
    "gb1": "proteins/gb1_three_vs_rest_train.csv",
}
MISSING = ["?", "NA", "NaN", "null", ""]


def main():
    command, *rest = sys.argv[1:] or ["help"]
    if command == "prepare" and len(rest) == 2:
        prepare(pathlib.Path(rest[0]), pathlib.Path(rest[1]))
    elif command == "compare" and len(rest) == 1:
        compare(pathlib.Path(rest[0]))
    elif command == "table" and len(rest) == 1:
        table(pathlib.Path(rest[0]))
    else:
        sys.exit(__doc__)


def label_of(name):
    return tomllib.loads((RECIPES / f"{name.split('.')[0]}.toml").read_text())["label"]


def prepare(shared, out):
    for name in METRICS:
        for seed in SEEDS:
            folder = out / f"{name}-seed{seed}"
            if folder.joinpath("done").exists():
                continue
            folder.mkdir(parents=True, exist_ok=True)
            try:
                MAKE.get(name, plain)(shared, folder, name, seed)
            except ModuleNotFoundError as missing:
                print(f"{name}: left out ({missing})", file=sys.stderr)
                shutil.rmtree(folder)
                break
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
    label = label_of(name)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(frame))
    label = truth(frame, label)
    if len(set(label)) < 10:
        order = order[np.argsort(pd.factorize(label)[0][order], kind="stable")]
    part = np.full(len(frame), "train", dtype=object)
    part[order[::5]] = "test"
    frame.assign(part=part).to_csv(folder / "cases.csv", index=False)


def scaffold(shared, folder, name, seed):
    """A fifth for testing that shares no Bemis-Murcko scaffold with the rest: scaffolds in an order that the seed
    draws, the large ones (more than half of the fifth) trained on (the balanced split of Yang et al. 2019)."""
    from rdkit import Chem, RDLogger
    from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

    RDLogger.DisableLog("rdApp.*")
    plain(shared, folder, name, seed)
    frame = read(folder / "cases.csv")

    def core(smiles):
        molecule = Chem.MolFromSmiles(smiles)
        return smiles if molecule is None else MurckoScaffoldSmiles(mol=molecule)

    groups = list(frame.groupby(frame["smiles"].map(core)).indices.values())
    fifth = len(frame) // 5
    tested = []
    for number in np.random.default_rng(seed).permutation(len(groups)):
        if len(groups[number]) <= fifth / 2 and len(tested) + len(groups[number]) <= fifth:
            tested.extend(groups[number])
    frame["part"] = np.where(frame.index.isin(tested), "test", "train")
    frame.to_csv(folder / "cases.csv", index=False)


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
    """COVID-19 or not, with the words that name a diagnosis taken out of the notes, so that no mark tells where they
    were. `places.csv` has nothing but where they were and how many: what tells the label there would tell it in marked
    notes, too."""
    frame = read(shared / "xray/cases.csv")
    frame = frame[frame["finding"] != "todo"].reset_index(drop=True)
    frame["covid"] = np.where(frame["finding"].str.contains("COVID"), "yes", "no")
    words = RECIPES.parent.joinpath("diagnosis-words.txt").read_text().split("\n")
    words = [word for word in words if word and not word.startswith("#")]
    pattern = re.compile(r"\b(?:" + "|".join(sorted(map(re.escape, words), key=len, reverse=True)) + r")\b", re.IGNORECASE)
    found = [[len(note[: word.start()].split()) for word in pattern.finditer(note)] for note in frame["notes"]]
    places = pd.DataFrame({f"place {n}": [own[n] if n < len(own) else np.nan for own in found] for n in range(4)})
    places.assign(masked=[len(own) for own in found], covid=frame["covid"], patient=frame["patient"]).to_csv(
        folder / "places.csv", index=False
    )
    frame["notes"] = frame["notes"].map(lambda note: pattern.sub("", note))
    shutil.copytree(shared / "xray/images", folder / "images", dirs_exist_ok=True)
    frame.to_csv(folder / "cases.csv", index=False)


MAKE = {
    "breast": pictures,
    "retina": pictures,
    "sounds": sounds,
    "xray": xray,
    "esol.scaffold": scaffold,
    "bbbp.scaffold": scaffold,
}


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
    for name, metric in METRICS.items():
        for seed in SEEDS:
            folder = out / f"{name}-seed{seed}"
            done = folder / "sklearn.json"
            if done.exists() or not folder.joinpath("cases.csv").exists() or name == "sounds":
                continue
            frame = read(folder / "cases.csv")
            label = label_of(name)
            y = pd.Series(truth(frame, label))
            x = features(frame, label)
            which = 1 if metric in ("RMSE", "Spearman") else 0
            models = {kind: of_kind[which](random_state=seed) for kind, of_kind in kinds.items()}
            found = {kind: judged(model, x, y, frame, metric, seed) for kind, model in models.items()}
            done.write_text(json.dumps(found))
            print(name, seed, found, flush=True)


def judged(model, x, y, frame, metric, seed):
    """On the test part; without one on all rows by five folds, no patient on both sides of one."""
    if "part" in frame:
        train, test = frame["part"] == "train", frame["part"] == "test"
        model.fit(x[train], y[train])
        return measure(model.classes_ if hasattr(model, "classes_") else None, answers(model, x[test]), y[test], metric)
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    said = cross_val_predict(model, x, y, groups=frame["patient"], cv=folds, method="predict_proba")
    return measure(np.unique(y), said, y, metric)


def features(frame, label):
    """Numbers as they are, categories as one column each, the characters of molecules and proteins counted."""
    drop = {"part", label, label.split(">")[0].strip(), "num", "name", "ticket", "cabin", "Compound ID", "image"}
    drop |= {"finding", "licence", "patient", "notes", "location"}
    drop |= {column for column in frame if "predicted" in column}
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


def answers(model, x):
    return model.predict_proba(x) if hasattr(model, "predict_proba") else model.predict(x)


def measure(classes, said, y, metric):
    from sklearn.metrics import accuracy_score, roc_auc_score, root_mean_squared_error

    if metric == "accuracy":
        return float(accuracy_score(y, classes[said.argmax(1)]))
    if metric == "AUROC":
        return float(roc_auc_score(y, said[:, 1]))
    if metric == "RMSE":
        return float(root_mean_squared_error(y, said))
    return float(pd.Series(said).corr(y.reset_index(drop=True), method="spearman"))


def table(out):
    print("| data | metric | Sensorium (each seed) | gradient boosting | random forest |\n|---|---|---|---|---|")
    for name, metric in METRICS.items():
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
