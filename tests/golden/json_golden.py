#!/usr/bin/env python3
"""Writes tests/golden/json_golden.txt: texts in hexadecimal, and what Python's json says about them.

Verdicts: accept and reject are RFC 8259's, too. lenient: Python takes it although the RFC does not (NaN,
Infinity, -Infinity) or although it is no text (halves of surrogate pairs); json.h refuses those. Duplicate
keys are accepted by both. Behind the verdict: whether json_tree takes it, which also refuses \\u0000 and
numbers that round to infinity. Corners by hand, then mutants of the accepted ones by a fixed seed."""
import json
import random

random.seed(1)

CORNERS = [
    b'', b' ', b'null', b'true', b'false', b'nul', b'True', b'nulll', b'\xef\xbb\xbfnull', b'null\x00', b'\x00',
    b'NaN', b'Infinity', b'-Infinity', b'[NaN]', b'inf', b'0', b'-0', b'-', b'+1', b'01', b'-01', b'00', b'1.', b'.5',
    b'-.5', b'1.e2', b'1e', b'1e+', b'1E+2', b'1e-2', b'1e05', b'0e0', b'0.0e-0', b'0x10', b'1_0', b'1 2', b'1,',
    b'1e400', b'-1e400', b'[1e400]', b'1e-400', b'1.7976931348623157e308', b'1.7976931348623159e308',
    b'123456789012345678901234567890', b'""', b'"', b'"a', b"'a'", b'"\t"', b'"\\t"', b'"\n"', b'"\x1f"', b'"\x7f"',
    b'"\\"', b'"\\x41"', b'"\\a"', b'"\\/"', b'"\\u0041"', b'"\\u004"', b'"\\u004g"', b'"\\U0041"', b'"\\u0000"',
    b'"a\\u0000b"', b'{"\\u0000":1}', b'"\\ud800"', b'"\\udc00"', b'"\\ud800\\u0041"', b'"\\ud83d\\ude00"',
    b'"\\ude00\\ud83d"', b'"\\ud83dx"', b'"\\uD83D\\uDE00"', b'"\\ud83d\\ud83d\\ude00"', b'"\xc3\xa4"', b'"\xe2\x82\xac"',
    b'"\xf0\x9f\x98\x80"', b'"\xf4\x8f\xbf\xbf"', b'"\xf4\x90\x80\x80"', b'"\xc0\x80"', b'"\xc1\xbf"', b'"\xe0\x80\x80"',
    b'"\xe0\x9f\xbf"', b'"\xf0\x8f\xbf\xbf"', b'"\xed\xa0\x80"', b'"\xed\x9f\xbf"', b'"\xee\x80\x80"', b'"\x80"', b'"\xc3"',
    b'"\xe2\x82"', b'"\xf0\x9f\x98"', b'"\xff"', b'\xc2\xa01', b'1\xc2\xa0', b'\x0b1', b'\x0c1', b' \t\r\n1 \t\r\n',
    b'[]', b'[ ]', b'[', b']', b'[1', b'[1,', b'[1,]', b'[,1]', b'[,]', b'[1,,2]', b'[1 2]', b'[1]]', b'[[1]',
    b'[1}', b'[1];', b'[1] x', b'[1]/**/', b'[1]//', b'{}', b'{ }', b'{', b'}', b'{"a"}', b'{"a":}', b'{"a":1', b'{"a":1,}',
    b'{,"a":1}', b'{a:1}', b'{"a":1 "b":2}', b'{"a" 1}', b'{"a"::1}', b'{1:2}', b'{"a":1]', b'{"a":1,"a":2}', b'{"":0}',
    b'{"a":{"b":[1,{"c":null}]}}', b'[true,false,null]', b'[tru]', b'{"a":"b","c":[-1.5e-7," \\b\\f\\n\\r\\t\\\\"]}',
]
LETTERS = b'[]{},:"\\ \t\n0123456789+-.eEunltrfasd/\x00\x1f\x7f\x80\xbf\xc2\xed\xf0'


def letters(value):
    """All characters of all strings and keys."""
    if isinstance(value, str):
        return value
    return ''.join(map(letters, value)) if isinstance(value, (list, tuple)) else ''


def judge(text):
    seen = {'constant': False, 'overflow': False}

    def constant(name):
        seen['constant'] = True

    def number(digits):
        value = float(digits)
        seen['overflow'] |= value in (float('inf'), -float('inf'))
        return value

    def pairs(items):  # as a tuple, so that duplicates stay visible
        return tuple(part for item in items for part in item)

    try:
        value = json.loads(text.decode('utf-8'), parse_constant=constant, parse_float=number, parse_int=number,
                           object_pairs_hook=pairs)
    except ValueError:
        return 'reject', 'none'
    if seen['constant'] or any('\ud800' <= c <= '\udfff' for c in letters(value)):
        return 'lenient', 'none'
    return 'accept', 'none' if seen['overflow'] or '\0' in letters(value) else 'tree'


def mutate(text):
    text = bytearray(text)
    at = random.randrange(len(text) + 1)
    what = random.randrange(3)
    if what == 0 or at == len(text):
        text.insert(at, random.choice(LETTERS))
    elif what == 1:
        del text[at]
    else:
        text[at] = random.choice(LETTERS)
    return bytes(text)


texts = {text: judge(text) for text in CORNERS}
valid = [text for text in CORNERS if texts[text][0] == 'accept']  # mutants of invalid texts teach little
while len(texts) < 2500:
    text = mutate(random.choice(valid))
    if text not in texts:
        texts[text] = judge(text)
        if texts[text][0] == 'accept':
            valid.append(text)
with open('tests/golden/json_golden.txt', 'w') as out:
    for text, (verdict, tree) in texts.items():
        out.write(f'{verdict} {tree} {text.hex()}\n')
