#!/usr/bin/env python3
"""Makes golden.json: what step rules make of given factors and gradients, in float64.

    pip install torch==2.15.0 peft==0.21.2 numpy && ./make_fixtures.py

One adapter A [2, 5], B [4, 2], s = 1.7, and three gradients G [4, 5] of the weight, from which g_A = s·Bᵀ·G and g_B = s·G·Aᵀ follow at
each step. soap keeps what it can in the factors' own coordinates. lora-fa-proj is PEFT's own optimizer. The others do not use LoRA-Pro's closed formulas: with L the linear map from (g̃_A, g̃_B)
to s·B·g̃_A + s·g̃_B·A, written out as a matrix, and L⁺ its pseudo-inverse, the pair nearest to z₀ = (g_A, g_B) among those whose image is
nearest to G is z₀ + L⁺·(G − L·z₀).
"""
import json
import numpy as np
import torch
from peft.optimizers.lorafa import LoraFAOptimizer

RANK, ROWS, COLUMNS, S, LR, RATIO, DECAY = 2, 4, 5, 1.7, 3e-3, 2.0, 0.1
random = np.random.default_rng(5)
A0 = random.standard_normal((RANK, COLUMNS)) * 0.5
B0 = random.standard_normal((ROWS, RANK)) * 0.5
A0, B0 = A0.astype(np.float32).astype(float), B0.astype(np.float32).astype(float)
GRADIENTS = [(random.standard_normal((ROWS, COLUMNS)) * 0.1).astype(np.float32).astype(float) for _ in range(3)]


def image_map(a, b):
    columns = []
    for i in range(RANK * COLUMNS + ROWS * RANK):
        z = np.zeros(RANK * COLUMNS + ROWS * RANK)
        z[i] = 1
        ga, gb = z[: RANK * COLUMNS].reshape(RANK, COLUMNS), z[RANK * COLUMNS :].reshape(ROWS, RANK)
        columns.append((S * b @ ga + S * gb @ a).ravel())
    return np.array(columns).T


def nearest(g, a, b):
    l = image_map(a, b)
    z = np.concatenate([(S * b.T @ g).ravel(), (S * g @ a.T).ravel()])
    z = z + np.linalg.pinv(l, rcond=1e-10) @ (g.ravel() - l @ z)
    return z[: RANK * COLUMNS].reshape(RANK, COLUMNS), z[RANK * COLUMNS :].reshape(ROWS, RANK)


class Adam:
    def __init__(self, shape):
        self.m, self.v, self.t = np.zeros(shape), np.zeros(shape), 0

    def direction(self, g):
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * g
        self.v = 0.999 * self.v + 0.001 * g * g
        return self.m / (1 - 0.9**self.t) / (np.sqrt(self.v / (1 - 0.999**self.t)) + 1e-8)


def run(rule):
    a, b = A0.copy(), B0.copy()
    adam_a, adam_b, adam = Adam(a.shape), Adam(b.shape), Adam((ROWS, COLUMNS))
    for g in GRADIENTS:
        if rule == "lora-pro-light":
            ga, gb = nearest(g, a, b)
            ua, ub = adam_a.direction(ga), adam_b.direction(gb)
        else:
            l = image_map(a, b)
            equivalent = (l @ np.linalg.pinv(l, rcond=1e-10) @ g.ravel()).reshape(ROWS, COLUMNS)
            ua, ub = nearest(adam.direction(equivalent), a, b)
        a = a * (1 - LR * DECAY) - LR * ua
        b = b * (1 - LR * RATIO * DECAY) - LR * RATIO * ub
    return a, b


def rotated(x, first, second, covariance, basis, t):
    """The direction of a factor as [r, n] from its gradient x, all state but `second` in the factor's own coordinates."""
    covariance[:] = 0.999 * covariance + 0.001 * x @ x.T
    new = np.linalg.eigh(covariance)[1].T
    second[:] = (new @ basis.T) ** 2 @ second
    basis[:] = new
    first[:] = 0.9 * first + 0.1 * x
    second[:] = 0.999 * second + 0.001 * (new @ x) ** 2
    return new.T @ ((new @ first) / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8))


def soap():
    a, b = A0.copy(), B0.copy()
    states = [
        [np.zeros((RANK, n)), np.zeros((RANK, n)), np.zeros((RANK, RANK)), np.eye(RANK)] for n in (COLUMNS, ROWS)]
    for t, g in enumerate(GRADIENTS, 1):
        ua, ub = rotated(S * b.T @ g, *states[0], t), rotated((S * g @ a.T).T, *states[1], t).T
        a = a * (1 - LR * DECAY) - LR * ua
        b = b * (1 - LR * RATIO * DECAY) - LR * RATIO * ub
    return a, b


def projected():
    a, b = torch.nn.Parameter(torch.tensor(A0), requires_grad=False), torch.nn.Parameter(torch.tensor(B0))
    optimizer = LoraFAOptimizer(
        [{"params": [a, b], "names": ["m.lora_A.weight", "m.lora_B.weight"], "scaling_factors": [S, S], "lr": LR * RATIO,
          "betas": (0.9, 0.999), "weight_decay": DECAY}], lr=LR * RATIO, eps=1e-6)
    for g in GRADIENTS:
        b.grad = torch.tensor(S * g @ A0.T)
        optimizer.step()
    return a.detach().numpy(), b.detach().numpy()


def numbers(x):
    return [float(f"{v:.12g}") for v in np.asarray(x).ravel()]


golden = {"s": S, "lr": LR, "ratio": RATIO, "weight_decay": DECAY, "a": numbers(A0), "b": numbers(B0)}
golden["gradients"] = [numbers(g) for g in GRADIENTS]
golden["nearest"] = dict(zip("ab", map(numbers, nearest(GRADIENTS[0], A0, B0))))
for rule in ["lora-pro", "lora-pro-light"]:
    golden[rule] = dict(zip("ab", map(numbers, run(rule))))
golden["soap"] = dict(zip("ab", map(numbers, soap())))
golden["lora-fa-proj"] = dict(zip("ab", map(numbers, projected())))
with open("golden.json", "w") as file:
    json.dump(golden, file, indent=1)
    file.write("\n")
