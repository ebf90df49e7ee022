#!/usr/bin/env python3
"""Writes base/number_table.h: the first 128 bits of 10^k for every k that reading and writing doubles
needs, the highest bit always set. 0 to 55 are exact, -27 to -1 rounded up (what Eisel-Lemire's proof
wants where 5^-k fits 64 bits), all others cut off. Python's integers make them exact."""

FIRST, LAST = -342, 324


def significand(k):
    if k >= 0:
        value = 10**k
        shift = value.bit_length() - 128
        return value >> shift if shift >= 0 else value << -shift
    value = 10**-k
    bits = value.bit_length() + 127
    quotient = (1 << bits) // value
    while quotient.bit_length() > 128:
        quotient >>= 1
    return quotient + (k >= -27)


print("/* Made by base/number_table.py: the first 128 bits of 10^k, high half first; exact from 0 to 55,\n * rounded up from -27 to -1, cut off elsewhere. */")
print("#ifndef BASE_NUMBER_TABLE_H\n#define BASE_NUMBER_TABLE_H\n\n#include <stdint.h>\n")
print(f"enum {{ POWER_FIRST = {FIRST}, POWER_LAST = {LAST} }};\n")
print("/* clang-format off */")
print("static const uint64_t powers_of_ten[POWER_LAST - POWER_FIRST + 1][2] = {")
for k in range(FIRST, LAST + 1):
    s = significand(k)
    print(f"    {{0x{s >> 64:016x}u, 0x{s & (1 << 64) - 1:016x}u}}, /* {k} */")
print("};\n/* clang-format on */\n\n#endif")
