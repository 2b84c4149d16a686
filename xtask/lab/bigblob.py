# SPDX-License-Identifier: Apache-2.0
"""Writes one file of 1 GiB that compresses to about half, the same at every run: bigblob.py FILE"""
import hashlib
import random
import sys

SEED = random.Random(2024)
WORDS = [bytes(SEED.choices(b"abcdefghijklmnopqrstuvwxyz", k=SEED.randint(2, 9))) for _ in range(4000)]
# Words as common as those of a language: the n-th a n-th as often as the first.
WEIGHTS = [1 / (rank + 1) for rank in range(len(WORDS))]
TEXT = b" ".join(SEED.choices(WORDS, WEIGHTS, k=3_000_000))
PIECE = 4096

with open(sys.argv[1], "wb") as file:
    for number in range((1 << 30) // PIECE):
        # A third of each piece cannot be compressed; the rest is text from a place that moves on.
        noise = hashlib.shake_128(number.to_bytes(4, "big")).digest(PIECE // 3)
        start = number * 7919 % (len(TEXT) - PIECE)
        file.write(noise + TEXT[start:start + PIECE - len(noise)])
