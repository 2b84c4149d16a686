# SPDX-License-Identifier: Apache-2.0
"""Writes a tree of 60,000 small files like installed packages, the same at every run: manyfiles.py ROOT"""
import os
import random
import sys

SEED = random.Random(2024)
WORDS = ["".join(SEED.choices("abcdefghijklmnopqrstuvwxyz", k=SEED.randint(2, 9))) for _ in range(2000)]


def text():
    size = int(min(8192, 100 + SEED.expovariate(1 / 4000)))
    return " ".join(SEED.choices(WORDS, k=size // 4 + 1))[:size]


for package in range(600):
    for part in ("docs", "lib", "src", "test"):
        folder = os.path.join(sys.argv[1], "modules", f"package-{package}", part)
        os.makedirs(folder)
        for number in range(25):
            with open(os.path.join(folder, f"{SEED.choice(WORDS)}-{number}.js"), "w", encoding="ascii") as file:
                file.write(text())
