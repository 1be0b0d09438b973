#!/bin/sh
# Makes the data folder at the first start, then becomes the server.
#
# The first start works in .first-start inside the data folder. What is finished is moved up, the
# folder `mysql` last: a data folder with `mysql` in it is whole, whenever the power fails.
set -e -o pipefail

note() { echo "$(date -u '+%Y-%m-%d %H:%M:%S') [Note] [Entrypoint]: $*"; }
warn() { echo "$(date -u '+%Y-%m-%d %H:%M:%S') [Warn] [Entrypoint]: $*" >&2; }
fail() {
	echo "$(date -u '+%Y-%m-%d %H:%M:%S') [ERROR] [Entrypoint]: $*" >&2
	exit 1
}

# take NAME: sets and exports NAME from NAME_FILE, or as it is.
take() {
	eval "value=\${$1-} file=\${$1_FILE-}"
	if [ -n "$file" ]; then
		[ -z "$value" ] || fail "both $1 and $1_FILE are set; they exclude each other"
		[ -r "$file" ] || fail "$1_FILE: cannot read $file"
		value=$(cat "$file") || fail "$1_FILE: cannot read $file"
		unset "$1_FILE"
	fi
	[ -z "$value" ] || export "$1=$value"
}

# setting NAME OLD: MARIADB_NAME in its place, where it is not set MYSQL_OLD's value.
setting() {
	take "MARIADB_$1"
	take "MYSQL_$2"
	eval "value=\${MARIADB_$1:-\${MYSQL_$2-}}"
	[ -z "$value" ] || export "MARIADB_$1=$value" "MYSQL_$2=$value"
}

# What text becomes inside '…' and inside `…` of SQL. The dot keeps newlines at its end.
quote() {
	quoted=$(printf '%s.' "$1" | sed -e 's/\\/\\\\/g' -e "s/'/\\\\'/g")
	printf "'%s'" "${quoted%.}"
}
name() {
	quoted=$(printf '%s.' "$1" | sed -e 's/`/``/g')
	printf '`%s`' "${quoted%.}"
}
# The name of a database in a GRANT, where _ and % would stand for anything.
pattern() { name "$(printf '%s.' "$1" | sed -e 's/[\\_%]/\\&/g' -e '$s/\.$//')"; }

# What an option has after the command line and the files are read; fails where they are wrong.
option() {
	printf '%s\n' "$settings" | awk -v name="$1" '$1 == name && !seen++ { sub(/^[^ ]+ +/, ""); print }'
}
read_settings() {
	settings=$("$@" --skip-log-bin --verbose --help 2>"$errors") || {
		cat "$errors" >&2
		fail "the server refuses its settings: $*"
	}
}

# --- SQL while the server of the first start runs; also for scripts of docker-entrypoint-initdb.d.

mysql_note() { note "$@"; }
mysql_warn() { warn "$@"; }
mysql_error() { fail "$@"; }
docker_process_sql() {
	if [ $# -eq 0 ] && [ -n "${MARIADB_DATABASE-}" ]; then
		set -- --database="$MARIADB_DATABASE"
	fi
	MYSQL_PWD=$root_password mariadb --protocol=socket --socket="$socket" --user=root \
		--binary-mode --comments "$@"
}

start_server() {
	"$@" --datadir="$stage" --socket="$socket" --pid-file="$stage.pid" --skip-networking \
		--skip-slave-start &
	server=$!
	root_password=
	waited=0
	until docker_process_sql --database=mysql -e 'SELECT 1' >/dev/null 2>&1; do
		kill -0 "$server" 2>/dev/null || fail "the server of the first start has ended, see above"
		waited=$((waited + 1))
		[ "$waited" -lt 600 ] || fail "the server of the first start does not answer"
		sleep 0.1
	done
}

stop_server() {
	kill -TERM "$server"
	wait "$server" || fail "the server of the first start ended with $?"
	server=
}

make_tables() {
	{
		printf '%s;\n' 'CREATE DATABASE mysql' 'USE mysql' 'SET @auth_root_socket = NULL'
		# As the series 11 calls them, and the one before.
		for named in mariadb mysql; do [ ! -d "/usr/share/$named" ] || break; done
		cd "/usr/share/$named"
		cat "${named}_system_tables.sql" "${named}_performance_tables.sql" \
			"${named}_system_tables_data.sql" fill_help_tables.sql maria_add_gis_sp_bootstrap.sql \
			"${named}_sys_schema.sql"
	} | "$@" --datadir="$stage" --bootstrap --silent-startup --skip-log-bin --log-warnings=0 \
		--enforce-storage-engine= --max-allowed-packet=8M --net-buffer-length=16K \
		|| fail "the system tables could not be made"
}

make_accounts() {
	password=${MARIADB_ROOT_PASSWORD-}
	if [ -n "${MARIADB_RANDOM_ROOT_PASSWORD-}" ]; then
		password=$(head -c 24 /dev/urandom | base64 | tr '+/' '-_')
		note "GENERATED ROOT PASSWORD: $password"
	fi
	host=${MARIADB_ROOT_HOST-%}
	{
		# The strings below count on backslashes.
		echo "SET @@SESSION.SQL_LOG_BIN = 0;"
		echo "SET @@SESSION.SQL_MODE = REPLACE(@@SESSION.SQL_MODE, 'NO_BACKSLASH_ESCAPES', '');"
		echo "DELETE FROM mysql.global_priv WHERE NOT (User = 'root' AND Host = 'localhost')"
		echo "  AND User NOT IN ('mariadb.sys', 'PUBLIC');"
		echo "DELETE FROM mysql.proxies_priv WHERE Host <> 'localhost'; FLUSH PRIVILEGES;"
		echo "GRANT PROXY ON ''@'%' TO 'root'@'localhost' WITH GRANT OPTION;"
		if [ -n "$host" ] && [ "$host" != localhost ]; then
			echo "CREATE USER 'root'@$(quote "$host") IDENTIFIED BY $(quote "$password");"
			echo "GRANT ALL ON *.* TO 'root'@$(quote "$host") WITH GRANT OPTION;"
		fi
		if [ -n "${MARIADB_DATABASE-}" ]; then
			echo "CREATE DATABASE IF NOT EXISTS $(name "$MARIADB_DATABASE");"
		fi
		if [ -n "${MARIADB_USER-}" ]; then
			echo "CREATE USER $(quote "$MARIADB_USER")@'%' IDENTIFIED BY $(quote "${MARIADB_PASSWORD-}");"
			if [ -n "${MARIADB_DATABASE-}" ]; then
				echo "GRANT ALL ON $(pattern "$MARIADB_DATABASE").* TO $(quote "$MARIADB_USER")@'%';"
			fi
		fi
		echo "ALTER USER 'root'@'localhost' IDENTIFIED BY $(quote "$password");"
	} | docker_process_sql --database=mysql || fail "the accounts could not be made"
	root_password=$password
}

# One file of docker-entrypoint-initdb.d, in a function so that a sourced script has its own $@.
run_file() {
	case $1 in
		*.sh)
			note "running $1"
			if [ -x "$1" ]; then "$1"; else . "$1"; fi
			;;
		*.sql) note "running $1"; docker_process_sql <"$1" ;;
		*.sql.gz) note "running $1"; gunzip -c "$1" | docker_process_sql ;;
		*.sql.xz) note "running $1"; xzcat "$1" | docker_process_sql ;;
		*) warn "ignoring $1" ;;
	esac
}

first_start() {
	if [ -z "${MARIADB_ROOT_PASSWORD-}${MARIADB_ALLOW_EMPTY_ROOT_PASSWORD-}${MARIADB_RANDOM_ROOT_PASSWORD-}" ]; then
		fail "the data folder $data is empty and no password is chosen: set one of MARIADB_ROOT_PASSWORD," \
			"MARIADB_ROOT_PASSWORD_FILE, MARIADB_RANDOM_ROOT_PASSWORD and MARIADB_ALLOW_EMPTY_ROOT_PASSWORD"
	fi
	if [ -n "${MARIADB_USER-}" ] && [ -z "${MARIADB_PASSWORD-}" ]; then
		fail "MARIADB_USER needs MARIADB_PASSWORD or MARIADB_PASSWORD_FILE"
	fi
	[ "${MARIADB_USER-}" != root ] || fail "MARIADB_USER cannot be root, who has MARIADB_ROOT_PASSWORD"
	# What is moved up at the end would take their place.
	for file in ibdata1 aria_log_control performance_schema sys; do
		[ ! -e "$data/$file" ] || fail "the data folder $data has $file but no folder mysql: it is not" \
			"whole, and nothing was changed; restore that folder, or begin with an empty one"
	done
	if [ -e "$stage" ]; then
		warn "a first start was interrupted; it begins again"
		rm -rf "$stage"
	fi
	mkdir -m 0700 "$stage"
	note "making the data folder"
	make_tables "$@"
	start_server "$@"
	make_accounts
	# For clients that scripts start; they know the socket of the server to come.
	export MYSQL_UNIX_PORT="$socket"
	for file in /docker-entrypoint-initdb.d/*; do
		if [ -f "$file" ]; then run_file "$file"; fi
	done
	unset MYSQL_UNIX_PORT
	stop_server
	sync -f "$data"
	: >"$stage/.done"
}

# Moves what the first start made to its place. Begun again after a crash, it goes on.
move_up() {
	for path in "$stage"/* "$stage"/.[!.]*; do
		case ${path##*/} in
			mysql | .done | '*' | '.[!.]*') ;;
			*) mv "$path" "$data/" ;;
		esac
	done
	sync -f "$data"
	[ ! -d "$stage/mysql" ] || mv "$stage/mysql" "$data/"
	sync -f "$data"
	rm -rf "$stage"
	note "the data folder is ready"
}

serves() {
	for word in "$@"; do
		case $word in
			-'?' | -I | -V | --help | --version | --print-defaults) return 1 ;;
		esac
	done
	case $1 in
		mariadbd | mysqld | */mariadbd | */mysqld) return 0 ;;
	esac
	return 1
}

case ${1--} in
	-*) set -- mariadbd "$@" ;;
esac
serves "$@" || exec "$@"

errors=$(mktemp)
read_settings "$@"
rm -f "$errors"
data=$(option datadir)
data=${data%/}
stage=$data/.first-start
socket=$stage/first-start.sock
setting ROOT_PASSWORD ROOT_PASSWORD
setting ROOT_HOST ROOT_HOST
setting DATABASE DATABASE
setting USER USER
setting PASSWORD PASSWORD
setting ALLOW_EMPTY_ROOT_PASSWORD ALLOW_EMPTY_PASSWORD
setting RANDOM_ROOT_PASSWORD RANDOM_ROOT_PASSWORD

if [ "$(id -u)" = 0 ]; then
	# Everything below runs as the server will; files with secrets are read by now.
	mkdir -p "$data" /run/mysqld
	chown mysql:mysql /run/mysqld
	find "$data" ! -user mysql -exec chown -h mysql:mysql {} +
	exec setuidgid mysql "$0" "$@"
fi

server=
trap '[ -z "$server" ] || kill "$server"; exit 143' TERM INT
if [ ! -d "$data/mysql" ]; then
	[ -e "$stage/.done" ] || first_start "$@"
	move_up
elif [ -e "$stage" ]; then
	rm -rf "$stage"
fi
trap - TERM INT
unset MARIADB_ROOT_PASSWORD MYSQL_ROOT_PASSWORD MARIADB_PASSWORD MYSQL_PASSWORD
exec "$@"
