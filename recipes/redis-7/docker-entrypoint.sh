#!/bin/sh
# Runs redis-server as the user redis, and any other command as it is.
set -eu

case "${1--}" in
-* | *.conf) set -- redis-server "$@" ;;
esac

case "${1##*/}" in
redis-server | redis-sentinel)
  if [ "$(id -u)" = 0 ] && [ -z "${SKIP_DROP_PRIVS:-}" ]; then
    # The data folder may come from a host or from an image with other ids. Not the targets of links:
    # what lies there is redis' word, and this runs as root.
    if [ -z "${SKIP_FIX_PERMS:-}" ]; then
      find . ! -user redis -exec chown -h redis:redis {} + ||
        echo "$0: not all of $PWD could be given to redis" >&2
    fi
    set -- setuidgid redis "$@"
  fi
  # Data is for redis alone, unless the container was told another umask.
  [ "$(umask)" != 0022 ] || umask 0077
  ;;
esac

exec "$@"
