#!/bin/bash
# PostgreSQL with synchronous standbys, on this machine: three nodes under
# Patroni, one etcd, one HAProxy that leads to the primary. Everything lies in a
# temporary folder, on free ports; Ctrl-C ends it and removes the folder.
#
#   deploy/postgres-ha/run.sh [--restart-after SECONDS]
#
# A node whose Patroni was killed is started again after that many seconds (30),
# as a service manager would; here it waits longer than the failover takes, so
# that one can watch it. Needs Debian's packages patroni, etcd-server, haproxy and
# postgresql. Read docs/postgres-ha.md.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
restart_after=30
while (($#)); do
    case $1 in
    --restart-after) restart_after=${2:?"--restart-after needs a number of seconds"} && shift 2 ;;
    *) sed -n '2,12s/^# \{0,1\}//p' "$0" >&2 && exit 64 ;;
    esac
done

PATH=$PATH:/usr/sbin:/sbin
pg_bin=$(find /usr/lib/postgresql -mindepth 3 -maxdepth 3 -name postgres 2>/dev/null | sort -Vr | head -n 1)
missing=()
command -v patroni >/dev/null || missing+=(patroni)
command -v etcd >/dev/null || missing+=(etcd-server)
command -v haproxy >/dev/null || missing+=(haproxy)
[[ $pg_bin ]] || missing+=(postgresql)
if ((${#missing[@]})); then
    echo "missing: ${missing[*]}. Install them: apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 69
fi
pg_bin=${pg_bin%/postgres}

# PostgreSQL refuses to run as root.
as=()
[[ $(id -u) != 0 ]] || as=(setpriv --reuid=postgres --regid=postgres --init-groups)

base=$(mktemp -d "${TMPDIR:-/tmp}/dromos-postgres-ha-XXXXXX")
chmod 0755 "$base"
[[ $(id -u) != 0 ]] || chown postgres:postgres "$base"
cp "$here/patroni.yml" "$here/haproxy.cfg" "$base/"
chmod 0644 "$base"/*.yml "$base"/*.cfg

declare -A pids=()
stopping=
stop() {
    [[ -z $stopping ]] || return 0
    stopping=1
    trap '' INT TERM
    [[ -z ${pids[sleep]:-} ]] || kill "${pids[sleep]}" 2>/dev/null || true
    # Patroni stops its PostgreSQL before it ends itself.
    local name pid
    for name in haproxy pg1 pg2 pg3 etcd; do
        pid=${pids[$name]:-}
        [[ $pid ]] && kill -TERM "$pid" 2>/dev/null || true
        [[ $name == etcd || $name == haproxy ]] || continue
        [[ $name == haproxy ]] || for node in pg1 pg2 pg3; do wait_for_end "$node"; done
    done
    for name in haproxy etcd; do wait_for_end "$name"; done
    rm -rf "$base"
}
# Bounded: what does not end by itself is killed.
wait_for_end() {
    local pid=${pids[$1]:-} postmaster
    for _ in {1..150}; do
        [[ $pid ]] && kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    [[ $pid ]] && kill -KILL "$pid" 2>/dev/null || true
    # A Patroni that was killed has left its PostgreSQL behind.
    postmaster=$(head -n 1 "$base/$1/data/postmaster.pid" 2>/dev/null || true)
    [[ $postmaster ]] && kill -QUIT "$postmaster" 2>/dev/null || true
}
trap stop EXIT
trap 'exit 0' INT TERM

# Below the range that outgoing connections take theirs from.
taken=" "
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        [[ $taken != *" $port "* ]] || continue
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    taken+="$port "
    printf -v "$1" %s "$port"
}
secret() { head -c 24 /dev/urandom | base64 | tr -dc A-Za-z0-9; }

free_port etcd_port
free_port etcd_peer_port
free_port PRIMARY_PORT
for node in 1 2 3; do
    free_port "PG${node}_PORT"
    free_port "PG${node}_REST_PORT"
done
export PRIMARY_PORT PG1_PORT PG2_PORT PG3_PORT PG1_REST_PORT PG2_REST_PORT PG3_REST_PORT
superuser_password=$(secret)
replication_password=$(secret)
dromos_password=$(secret)

# Starts a program in a session of its own, so that Ctrl-C reaches only us.
start() {
    local name=$1
    shift
    (cd "$base" && exec "${as[@]}" setsid "$@") >>"$base/$name.log" 2>&1 </dev/null &
    pids[$name]=$!
}
start_node() {
    local node=$1 port=PG$1_PORT rest=PG$1_REST_PORT
    start "pg$node" env \
        PATH="$PATH" \
        PATRONI_NAME="pg$node" \
        PATRONI_ETCD3_HOSTS="127.0.0.1:$etcd_port" \
        PATRONI_RESTAPI_LISTEN="127.0.0.1:${!rest}" \
        PATRONI_RESTAPI_CONNECT_ADDRESS="127.0.0.1:${!rest}" \
        PATRONI_POSTGRESQL_LISTEN="127.0.0.1:${!port}" \
        PATRONI_POSTGRESQL_CONNECT_ADDRESS="127.0.0.1:${!port}" \
        PATRONI_POSTGRESQL_DATA_DIR="$base/pg$node/data" \
        PATRONI_POSTGRESQL_PGPASS="$base/pg$node.pgpass" \
        PATRONI_POSTGRESQL_BIN_DIR="$pg_bin" \
        PATRONI_SUPERUSER_USERNAME=postgres \
        PATRONI_SUPERUSER_PASSWORD="$superuser_password" \
        PATRONI_REPLICATION_USERNAME=replicator \
        PATRONI_REPLICATION_PASSWORD="$replication_password" \
        patroni "$base/patroni.yml"
}
# A sleep that a signal ends, and that holds nobody's pipe open.
pause() {
    sleep "$1" >/dev/null 2>&1 &
    pids[sleep]=$!
    wait "${pids[sleep]}" || true
}
psql() {
    PGPASSWORD=$superuser_password PGCONNECT_TIMEOUT=3 "$pg_bin/psql" --no-psqlrc --quiet --tuples-only --no-align \
        --set ON_ERROR_STOP=1 --host 127.0.0.1 --port "$PRIMARY_PORT" --username postgres --dbname postgres "$@"
}

start etcd etcd --name etcd --data-dir "$base/etcd" \
    --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
    --listen-peer-urls "http://127.0.0.1:$etcd_peer_port" \
    --initial-advertise-peer-urls "http://127.0.0.1:$etcd_peer_port" \
    --initial-cluster "etcd=http://127.0.0.1:$etcd_peer_port"
for node in 1 2 3; do
    mkdir "$base/pg$node"
    chmod 0700 "$base/pg$node"
    [[ $(id -u) != 0 ]] || chown postgres:postgres "$base/pg$node"
    start_node "$node"
done
start haproxy haproxy -db -f "$base/haproxy.cfg"

echo "starting three nodes in $base (one minute at most on a small machine) ..." >&2
standbys="select count(*) filter (where sync_state = 'sync') || '/' || count(*) from pg_stat_replication where state = 'streaming'"
for ((waited = 0; ; waited++)); do
    [[ $(psql --command "$standbys" 2>/dev/null || true) != 1/2 ]] || break
    for name in "${!pids[@]}"; do
        kill -0 "${pids[$name]}" 2>/dev/null || { tail -n 20 "$base/$name.log" >&2 && echo "$name ended: see above" >&2 && exit 1; }
    done
    ((waited < 240)) || { tail -n 5 "$base"/*.log >&2 && echo "the cluster is not ready after two minutes" >&2 && exit 1; }
    sleep 0.5
done
psql --set "password=$dromos_password" <<'SQL'
create role dromos login password :'password';
create database dromos owner dromos;
SQL

# A program can read these lines, too.
for node in 1 2 3; do
    port=PG${node}_PORT rest=PG${node}_REST_PORT
    echo "NODE pg$node postgres=127.0.0.1:${!port} patroni=http://127.0.0.1:${!rest} data=$base/pg$node/data patroni_pid=${pids[pg$node]}"
done
echo "DATABASE_URL=postgres://dromos:$dromos_password@127.0.0.1:$PRIMARY_PORT/dromos"
echo "READY: who is the primary: patronictl -c $base/patroni.yml -d etcd3://127.0.0.1:$etcd_port list; Ctrl-C ends it" >&2

while :; do
    for node in 1 2 3; do
        kill -0 "${pids[pg$node]}" 2>/dev/null && continue
        wait "${pids[pg$node]}" 2>/dev/null || true
        echo "pg$node: its Patroni ended; it is started again in $restart_after s" >&2
        pause "$restart_after"
        start_node "$node"
        echo "NODE pg$node started again patroni_pid=${pids[pg$node]}"
    done
    pause 0.5
done
