"""Makes the numbers that `crates/metrics/src/tests.rs` compares with: scikit-learn's, SciPy's and torchmetrics'.

    python tests/reference/metrics.py crates/metrics/src/golden.json

The predictions are drawn with a fixed seed, rounded so that scores tie, and stored beside what they give.
Made with scikit-learn 1.9.1, SciPy 1.17.1, torchmetrics 1.9.0.
"""

import json
import sys

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import spearmanr
from sklearn import metrics as sk
from torchmetrics.classification import MulticlassCalibrationError


def drawn(rng, rows, classes, skill, decimals):
    """Truth, and probabilities that know a part of it and are rounded to few decimals."""
    truth = rng.choice(classes, rows, p=rng.dirichlet(np.full(classes, 3.0)))
    logits = np.round(rng.normal(size=(rows, classes)) + skill * np.eye(classes)[truth], 3)
    probabilities = np.round(softmax(logits, 1), decimals)
    probabilities[:, 0] += 1 - probabilities.sum(1)
    return truth, np.clip(np.round(probabilities, decimals), 0, 1), logits


def classification(rng, rows, classes, weights=None, names=None):
    truth, probabilities, logits = drawn(rng, rows, classes, 1.2, 2)
    weights = np.ones(rows, int) if weights is None else rng.integers(0, 4, rows)
    # What counts twice is there twice: no reference's own handling of weights is trusted.
    again = np.repeat(np.arange(rows), weights)
    y, p = truth[again], probabilities[again]
    predicted = p.argmax(1)
    two = classes == 2
    score = p[:, 1] if two else p
    onehot = np.eye(classes)[y]
    expected = {
        "accuracy": sk.accuracy_score(y, predicted),
        "balanced accuracy": sk.balanced_accuracy_score(y, predicted),
        "AUROC": sk.roc_auc_score(y, score, multi_class="ovr", labels=None if two else range(classes)),
        "AUPRC": sk.average_precision_score(y, score) if two else sk.average_precision_score(onehot, p),
        "F1": sk.f1_score(y, predicted, average="binary" if two else "macro"),
        "Brier": sk.brier_score_loss(y, p[:, 1]) if two else ((p - onehot) ** 2).sum(1).mean(),
        "log loss": sk.log_loss(y, p, labels=range(classes)),
        # Its bins hold their lower ends, ours their upper ones.
        "ECE": float(MulticlassCalibrationError(classes, n_bins=15)(torch.tensor(np.clip(p - 1e-6, 0, 1)), torch.tensor(y))),
        "quadratic kappa": sk.cohen_kappa_score(y, predicted, weights="quadratic"),
        "error in grades": sk.mean_absolute_error(y, predicted),
    }
    if classes > 5:
        expected["top-5 accuracy"] = sk.top_k_accuracy_score(y, p + 1e-12 * -np.arange(classes), k=5)
    best = minimize_scalar(
        lambda t: -log_softmax(logits / np.exp(t), 1)[np.arange(rows), truth].mean(), bounds=(-3, 3), method="bounded",
        options={"xatol": 1e-12},
    )
    case = {
        "truth": truth.tolist(),
        "probabilities": probabilities.tolist(),
        "logits": logits.tolist(),
        "counts": weights.tolist(),
        "expected": expected,
        "temperature": float(np.exp(best.x)),
        "confusion": sk.confusion_matrix(y, predicted, labels=range(classes)).tolist(),
    }
    if two:
        fpr, tpr, _ = sk.roc_curve(y, score)
        case["roc"] = np.stack([fpr, tpr], 1).tolist()
    return case


def labels(rng, rows, count):
    truth = rng.random((rows, count)) < rng.uniform(0.2, 0.6, count)
    p = np.round(1 / (1 + np.exp(-rng.normal(size=(rows, count)) - 1.5 * (truth - 0.5))), 2)
    return {
        "truth": truth.tolist(),
        "probabilities": p.tolist(),
        "expected": {
            "AUROC": sk.roc_auc_score(truth, p),
            "AUPRC": sk.average_precision_score(truth, p),
            "F1": sk.f1_score(truth, p >= 0.5, average="macro"),
            "Brier": ((p - truth) ** 2).mean(),
        },
    }


def numbers(rng, rows):
    truth = np.round(rng.normal(size=rows) * 3, 1)
    predicted = np.round(truth * 0.7 + rng.normal(size=rows), 1)
    counts = rng.integers(0, 3, rows)
    again = np.repeat(np.arange(rows), counts)
    y, p = truth[again], predicted[again]
    return {
        "truth": truth.tolist(),
        "predicted": predicted.tolist(),
        "counts": counts.tolist(),
        "expected": {
            "MAE": sk.mean_absolute_error(y, p),
            "RMSE": sk.root_mean_squared_error(y, p),
            "R²": sk.r2_score(y, p),
            "Spearman": float(spearmanr(y, p).statistic),
        },
    }


rng = np.random.default_rng(7)
golden = {
    "classes": [
        classification(rng, 60, 2),
        classification(rng, 60, 2, weights=True),
        classification(rng, 60, 4),
        classification(rng, 80, 7, weights=True),
    ],
    "labels": labels(rng, 50, 3),
    "numbers": numbers(rng, 50),
}
with open(sys.argv[1], "w", encoding="utf8") as out:
    json.dump(golden, out, ensure_ascii=False, separators=(",", ":"), default=float)
    out.write("\n")
