#!/usr/bin/env bash
# Three nsqlookupds with one registry on this machine's loopback: what 'make run' does.
# Ctrl-C stops all three. DATA=folder keeps their data there; without it the data is in
# a temporary folder and goes with them. A node that is killed is started again after
# five seconds, so that one can watch what its death does.
set -euo pipefail
cd "$(dirname "$0")/../.."

nodes=(1 2 3)
cluster=n1=127.0.0.1:4162,n2=127.0.0.1:4262,n3=127.0.0.1:4362
ready_within=30 # seconds
again_after=5   # seconds

for port in 4160 4161 4162 4260 4261 4262 4360 4361 4362; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        echo "port $port on 127.0.0.1 is taken; is another nsqlookupd running here?" >&2
        exit 1
    fi
done

go build -o bin/nsqlookupd ./cmd/nsqlookupd

if [[ -n ${DATA:-} ]]; then
    mkdir -p "$DATA"
    data=$DATA
else
    data=$(mktemp -d)
fi

pid=()
start() {
    bin/nsqlookupd \
        --tcp-address="127.0.0.1:$((4060 + 100 * $1))" --http-address="127.0.0.1:$((4061 + 100 * $1))" --raft-address="127.0.0.1:$((4062 + 100 * $1))" \
        --broadcast-address=127.0.0.1 \
        --data-path="$data/n$1" --node-id="n$1" --initial-cluster="$cluster" >>"$data/n$1.log" 2>&1 &
    pid[$1]=$!
}
http() { echo "http://127.0.0.1:$((4061 + 100 * $1))"; }
running() { kill -0 "${pid[$1]}" 2>/dev/null; }

stop_all() {
    local status=$?
    trap - EXIT INT TERM
    if ((${#pid[@]} > 0)); then
        echo "stopping"
        for n in "${!pid[@]}"; do kill "${pid[$n]}" 2>/dev/null || true; done
        wait
    fi
    [[ -n ${DATA:-} ]] || rm -rf "$data"
    exit "$status"
}
trap stop_all EXIT
trap 'exit 0' INT TERM

for n in "${nodes[@]}"; do start "$n"; done
SECONDS=0
for n in "${nodes[@]}"; do
    until bin/nsqlookupd --check-health "$(http "$n")/readyz" 2>/dev/null; do
        if ! running "$n" || ((SECONDS > ready_within)); then
            echo "n$n did not get ready; the end of its log:" >&2
            tail -n 20 "$data/n$n.log" >&2
            exit 1
        fi
        sleep 0.1
    done
done

cat <<TEXT

Three nsqlookupds, one registry. Logs and data: $data

  n1  nsqd registers at 127.0.0.1:4160   lookups at http://127.0.0.1:4161   pid ${pid[1]}
  n2  nsqd registers at 127.0.0.1:4260   lookups at http://127.0.0.1:4261   pid ${pid[2]}
  n3  nsqd registers at 127.0.0.1:4360   lookups at http://127.0.0.1:4361   pid ${pid[3]}

Create a topic on one node, look it up on each:

  curl -X POST 'http://127.0.0.1:4161/topic/create?topic=greetings'
  for port in 4161 4261 4361; do curl "http://127.0.0.1:\$port/lookup?topic=greetings"; echo; done

See who leads, then kill it and look again:

  curl http://127.0.0.1:4161/cluster
  kill -9 ${pid[1]}

Ctrl-C stops all three.

TEXT

while sleep 1; do
    for n in "${nodes[@]}"; do
        running "$n" && continue
        status=0
        wait "${pid[$n]}" || status=$?
        echo "$(date +%H:%M:%S) n$n has ended (status $status); it is started again in $again_after s"
        sleep "$again_after"
        start "$n"
        echo "$(date +%H:%M:%S) n$n is started, pid ${pid[$n]}"
    done
done 2>/dev/null # bash's own line about a child that was killed
