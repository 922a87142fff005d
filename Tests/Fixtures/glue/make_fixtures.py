"""Writes agreement.json: labels and predictions at random with what numpy makes of them by other formulas than ours: Matthews' correlation
as the covariance of one-hot columns (Gorodkin 2004), F1 from precision and recall, Pearson's r by corrcoef. Run in this folder."""
import json

import numpy as np

random = np.random.default_rng(5)


def covariance(x, y):
    return sum(np.cov(x[:, k], y[:, k], bias=True)[0, 1] for k in range(x.shape[1]))


cases = []
for classes, rows, others in ((2, 40, 0), (2, 40, 5), (3, 60, 0), (3, 60, 9), (2, 7, 7), (4, 30, 2)):
    truth = random.integers(0, classes, rows)
    predicted = np.where(random.random(rows) < 0.6, truth, random.integers(0, classes, rows))
    predicted[random.permutation(rows)[:others]] = classes
    x, y = np.eye(classes + 1)[truth], np.eye(classes + 1)[predicted]
    spread = covariance(x, x) * covariance(y, y)
    hits = int(((truth == 1) & (predicted == 1)).sum())
    precision = hits / max(1, (predicted == 1).sum())
    recall = hits / max(1, (truth == 1).sum())
    cases.append({"classes": classes, "truth": truth.tolist(), "predicted": predicted.tolist(),
                  "matthews": float(covariance(x, y) / np.sqrt(spread)) if spread > 0 else 0.0,
                  "f1": float(2 * precision * recall / (precision + recall)) if hits else 0.0})
series = []
for n in (3, 20, 200):
    x = np.round(random.random(n) * 25) / 5
    y = np.round((x + random.normal(0, 1, n)) * 5) / 5
    series.append({"x": x.tolist(), "y": y.tolist(), "pearson": float(np.corrcoef(x, y)[0, 1])})
json.dump({"agreement": cases, "series": series}, open("agreement.json", "w"))
