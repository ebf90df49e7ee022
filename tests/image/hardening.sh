#!/bin/sh
# Checks with readelf that programs were built to be hard to exploit: hardening.sh <program>...
set -eu

fail=0
for program; do
    headers=$(readelf -hlW "$program") dynamic=$(readelf -dW "$program")
    symbols=$(readelf --dyn-syms -W "$program")
    has() {
        echo "$2" | grep -qE "$3" && return
        echo "hardening: $program: expected $1"
        fail=1
    }
    lacks() {
        echo "$2" | grep -qE "$3" || return 0
        echo "hardening: $program: expected no $1"
        fail=1
    }
    has 'a position-independent program' "$headers" '^ *Type: +DYN'
    has 'the flag PIE' "$dynamic" 'FLAGS_1.*PIE'
    has 'relocations that become read-only' "$headers" 'GNU_RELRO'
    has 'all symbols bound at start' "$dynamic" 'FLAGS.*BIND_NOW'
    has 'a stack that is declared' "$headers" 'GNU_STACK'
    lacks 'executable stack' "$headers" 'GNU_STACK.* RWE'
    lacks 'segment that is writable and executable' "$headers" 'LOAD.* RWE'
    has 'stack protection' "$symbols" '__stack_chk_fail'
    has 'fortified library calls' "$symbols" '__[a-z]*printf_chk|__memcpy_chk|__read_chk'
    lacks 'search path for libraries' "$dynamic" 'R(UN)?PATH'
    lacks 'relocations in its text' "$dynamic" 'TEXTREL'
done
[ "$fail" -eq 0 ] && echo "hardening: $# programs: PIE, RELRO, BIND_NOW, stack protector, FORTIFY, no executable stack"
exit "$fail"
