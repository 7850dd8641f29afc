#!/usr/bin/env python3
"""The polynomial of the exact GELU in math/twins/vector.inc: scripts/gelu.py (needs numpy)

GELU(x) = x Phi(x) = max(x, 0) - z tail(z) with z = |x|, where tail(z) = Phi(-z) = erfc(z / sqrt 2) / 2. The logarithm of
tail is smooth and almost a parabola, so a polynomial P of degree 8 with P(0) = log(1/2) is enough for exp(P(z)). Its
error counts as much as it moves GELU: tail(z) max(z, 0.3) of it. Lawson's weights make least squares minimax."""
import math
import numpy as np

DEGREE, END = 8, 6.5

nodes = (1 - np.cos((np.arange(400) + 0.5) * np.pi / 400)) * END / 2
tail = np.array([math.erfc(z / math.sqrt(2)) / 2 for z in nodes])
counts = tail * np.maximum(nodes, 0.3)
powers = np.polynomial.chebyshev.chebvander(2 * nodes / END - 1, DEGREE - 1) * (nodes * counts)[:, None]
wanted, lawson = np.log(2 * tail) * counts, np.ones_like(nodes)
for _ in range(100):
    root = np.sqrt(lawson)
    fit = np.linalg.lstsq(powers * root[:, None], wanted * root, rcond=None)[0]
    error = np.abs(powers @ fit - wanted)
    lawson *= error / error.max() + 1e-3
    lawson /= lawson.max()
p = np.polynomial.Chebyshev(fit, domain=[0, END]).convert(kind=np.polynomial.Polynomial).coef
for power, c in enumerate([math.log(0.5), *p]):
    print(f"z^{power}  {c:.9g}f")
rounded = np.polynomial.Polynomial([np.float32(c) for c in [math.log(0.5), *p]])
print(f"largest error {np.abs(nodes * (np.exp(rounded(nodes)) - tail)).max():.1e} of GELU, "
      f"P(16) = {rounded(16.0):.0f}")
