"""CPU nanoseconds per centre and row of scikit-learn's Nystroem(kernel="laplacian") + Ridge, 4,096 centres of
8 inputs, rows in batches of 256: the pipeline as it is, and the least it could do, the kernel matrix times
folded coefficients. One line each: name, median, least, most.

Fitting is left out: 4,096 landmarks, a normalisation of their shape and coefficients are put where fit
would have put them, because the time to predict does not depend on their values.
"""
import statistics
import time

import numpy as np
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import laplacian_kernel
from sklearn.pipeline import make_pipeline

CENTRES, INPUTS, ROWS, ROUNDS = 4096, 8, 256, 15

rng = np.random.default_rng(1)
centres = rng.uniform(-2, 2, (CENTRES, INPUTS))
rows = rng.uniform(-2, 2, (ROWS, INPUTS))
coefficients = rng.standard_normal(CENTRES)


def pipeline():
    nystroem = Nystroem(kernel="laplacian", gamma=0.5, n_components=CENTRES)
    small = centres[:INPUTS]  # fitted for its bookkeeping, then given its real size
    nystroem.set_params(n_components=len(small)).fit(small)
    nystroem.components_ = centres
    nystroem.normalization_ = rng.standard_normal((CENTRES, CENTRES)) / CENTRES
    nystroem.component_indices_ = np.arange(CENTRES)
    ridge = Ridge().fit(np.zeros((2, CENTRES)), np.zeros(2))
    ridge.coef_ = coefficients
    return make_pipeline(nystroem, ridge)


def measure(name, predict):
    predict(rows)
    times = []
    for _ in range(ROUNDS):
        start = time.process_time_ns()
        predict(rows)
        times.append((time.process_time_ns() - start) / ROWS / CENTRES)
    print(name, statistics.median(times), min(times), max(times))


measure("Nystroem_+_Ridge", pipeline().predict)
measure("laplacian_kernel_@_coefficients", lambda x: laplacian_kernel(x, centres, gamma=0.5) @ coefficients)
