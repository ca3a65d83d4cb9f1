"""Makes the probabilities of scikit-learn's logistic regression that the linear probe is compared with.

    python tests/reference/probe.py crates/retrieve/src/classify/golden.json

Made with scikit-learn 1.9.1.
"""

import json
import sys

import numpy as np
from sklearn.linear_model import LogisticRegression

rng = np.random.default_rng(11)
cases = []
for rows, width, classes, penalty in [(40, 5, 3, 0.1), (40, 5, 3, 1e-3), (30, 4, 2, 0.03)]:
    truth = rng.integers(0, classes, rows)
    vectors = np.round(rng.normal(size=(rows, width)) + np.eye(classes, width)[truth], 3)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    if classes == 2:
        # scikit-learn has one vector for two classes, the probe one each: half the penalty for the same answer.
        c = 2 / (penalty * rows)
    else:
        c = 1 / (penalty * rows)
    model = LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(vectors, truth)
    cases.append(
        {
            "vectors": np.round(vectors, 7).tolist(),
            "classes": truth.tolist(),
            "penalty": penalty,
            "probabilities": np.round(model.predict_proba(vectors), 7).tolist(),
        }
    )
with open(sys.argv[1], "w", encoding="utf8") as out:
    json.dump(cases, out, separators=(",", ":"))
    out.write("\n")
