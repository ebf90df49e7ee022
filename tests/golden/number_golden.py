#!/usr/bin/env python3
"""Writes tests/golden/number_golden.txt: doubles as 16 hexadecimal digits and Python's repr of them, which
number_write must reproduce. Corners by hand, then random bit patterns of a fixed seed."""
import random
import struct

random.seed(1)
corners = [0.0, -0.0, 1.0, -1.0, 0.1, 0.3, 2 / 3, 1e-4, 1e-5, 9.999e-5, 123456789012345.0, 1e15, 1e16, 1e17,
           9999999999999998.0, 9007199254740993.0, 1e21, 1e22, 1e23, 5e-324, 2.2250738585072014e-308,
           2.225073858507201e-308, 1.7976931348623157e308, 4.35, 0.005, 2.5e-5, 100.0, 1e100, 8.41e21,
           2.0**-1074 * 3, 2.0**52, 2.0**53, 2.0**60, 2.0**-20]
values = corners + [10.0**k for k in range(-30, 31)] + [2.0**k for k in range(-1074, 1024, 7)]
while len(values) < 2000:
    value = struct.unpack("<d", struct.pack("<Q", random.getrandbits(64)))[0]
    if value == value and abs(value) != float("inf"):
        values.append(value)
while len(values) < 3000:
    values.append(round(random.uniform(-1000, 1000), random.randrange(0, 9)))
with open("tests/golden/number_golden.txt", "w") as out:
    for value in values:
        out.write(f"{struct.unpack('<Q', struct.pack('<d', value))[0]:016x} {value!r}\n")
