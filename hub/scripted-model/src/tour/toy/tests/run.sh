#!/bin/sh
# Tests of calc.sh: sh tests/run.sh
cd "$(dirname "$0")/.." || exit 2
total=0
failed=0

# check EXPECTED ARGUMENT...
check() {
    expected=$1
    shift
    actual=$(sh calc.sh "$@")
    total=$((total + 1))
    if [ "$actual" = "$expected" ]; then
        echo "ok    calc $*"
    else
        echo "FAIL  calc $*: expected $expected, got $actual"
        failed=$((failed + 1))
    fi
}

check 5 add 2 3
check 4 sub 7 3
check 12 mul 3 4
check 4 mul 2 2
check 3 div 9 3
check "calc: cannot divide by zero" div 1 0

if [ "$failed" -ne 0 ]; then
    echo "$failed of $total tests failed"
    exit 1
fi
echo "all tests passed"
