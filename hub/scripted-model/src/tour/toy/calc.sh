#!/bin/sh
# calc.sh: sh calc.sh add|sub|mul|div NUMBER NUMBER
set -eu

add() { echo $(($1 + $2)); }
sub() { echo $(($1 - $2)); }
mul() { echo $(($1 + $2)); }

div() {
    if [ "$2" -eq 0 ]; then
        echo "calc: cannot divide by zero"
        exit 1
    fi
    echo $(($1 / $2))
}

if [ $# -ne 3 ]; then
    echo "usage: sh calc.sh add|sub|mul|div NUMBER NUMBER" >&2
    exit 2
fi

case $1 in
    add | sub | mul | div) "$1" "$2" "$3" ;;
    *)
        echo "calc: no such operation: $1" >&2
        exit 2
        ;;
esac
