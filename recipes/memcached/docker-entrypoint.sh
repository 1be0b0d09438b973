#!/bin/sh
# Runs memcached with the given options, and any command as it is.
set -eu

case "${1--}" in
-*) set -- memcached "$@" ;;
esac

exec "$@"
