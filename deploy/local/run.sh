#!/usr/bin/env bash
# Three nsqlookupds with one registry and an nsqd on this machine's loopback: what
# 'make run' does. Ctrl-C stops all four. DATA=folder keeps their data there; without it
# the data is in a temporary folder and goes with them. What is killed is started again
# after five seconds, so that one can watch what its death does.
set -euo pipefail
cd "$(dirname "$0")/../.."

nodes=(1 2 3)
cluster=n1=127.0.0.1:4162,n2=127.0.0.1:4262,n3=127.0.0.1:4362
ready_within=30 # seconds
again_after=5   # seconds

for port in 4150 4151 4160 4161 4162 4260 4261 4262 4360 4361 4362; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        echo "port $port on 127.0.0.1 is taken; is another NSQ running here?" >&2
        exit 1
    fi
done

go build -o bin/ ./cmd/nsqlookupd ./cmd/nsqd

if [[ -n ${DATA:-} ]]; then
    mkdir -p "$DATA"
    data=$DATA
else
    data=$(mktemp -d)
fi
mkdir -p "$data/nsqd"

# Number 0 is the nsqd, the others are nodes.
pid=()
name() { if (($1 == 0)); then echo nsqd; else echo "n$1"; fi; }
http() { if (($1 == 0)); then echo http://127.0.0.1:4151; else echo "http://127.0.0.1:$((4061 + 100 * $1))"; fi; }
running() { kill -0 "${pid[$1]}" 2>/dev/null; }

start() {
    if (($1 == 0)); then
        bin/nsqd \
            --tcp-address=127.0.0.1:4150 --http-address=127.0.0.1:4151 --broadcast-address=127.0.0.1 \
            --lookupd-tcp-address=127.0.0.1:4160 --lookupd-tcp-address=127.0.0.1:4260 --lookupd-tcp-address=127.0.0.1:4360 \
            --data-path="$data/nsqd" >>"$data/nsqd.log" 2>&1 &
    else
        bin/nsqlookupd \
            --tcp-address="127.0.0.1:$((4060 + 100 * $1))" --http-address="127.0.0.1:$((4061 + 100 * $1))" --raft-address="127.0.0.1:$((4062 + 100 * $1))" \
            --broadcast-address=127.0.0.1 \
            --data-path="$data/n$1" --node-id="n$1" --initial-cluster="$cluster" >>"$data/n$1.log" 2>&1 &
    fi
    pid[$1]=$!
}

stop_all() {
    local status=$?
    trap - EXIT INT TERM
    if ((${#pid[@]} > 0)); then
        echo "stopping"
        for i in "${!pid[@]}"; do kill "${pid[$i]}" 2>/dev/null || true; done
        wait
    fi
    [[ -n ${DATA:-} ]] || rm -rf "$data"
    exit "$status"
}
trap stop_all EXIT
trap 'exit 0' INT TERM

for i in "${nodes[@]}" 0; do start "$i"; done
SECONDS=0
for i in "${nodes[@]}" 0; do
    until bin/nsqlookupd --check-health "$(http "$i")/readyz" 2>/dev/null; do
        if ! running "$i" || ((SECONDS > ready_within)); then
            echo "$(name "$i") did not get ready; the end of its log:" >&2
            tail -n 20 "$data/$(name "$i").log" >&2
            exit 1
        fi
        sleep 0.1
    done
done

cat <<TEXT

Three nsqlookupds, one registry, and an nsqd. Logs and data: $data

  n1    nsqd registers at 127.0.0.1:4160   lookups at http://127.0.0.1:4161   pid ${pid[1]}
  n2    nsqd registers at 127.0.0.1:4260   lookups at http://127.0.0.1:4261   pid ${pid[2]}
  n3    nsqd registers at 127.0.0.1:4360   lookups at http://127.0.0.1:4361   pid ${pid[3]}
  nsqd  consumers come to 127.0.0.1:4150   publish at http://127.0.0.1:4151   pid ${pid[0]}

Publish a message, look its topic up on each node:

  curl -d hello 'http://127.0.0.1:4151/pub?topic=greetings'
  for port in 4161 4261 4361; do curl "http://127.0.0.1:\$port/lookup?topic=greetings"; echo; done

See who leads, then kill it and look again:

  curl http://127.0.0.1:4161/cluster
  kill -9 ${pid[1]}

Ctrl-C stops all four.

TEXT

while sleep 1; do
    for i in "${nodes[@]}" 0; do
        running "$i" && continue
        status=0
        wait "${pid[$i]}" || status=$?
        echo "$(date +%H:%M:%S) $(name "$i") has ended (status $status); it is started again in $again_after s"
        sleep "$again_after"
        start "$i"
        echo "$(date +%H:%M:%S) $(name "$i") is started, pid ${pid[$i]}"
    done
done 2>/dev/null # bash's own line about a child that was killed
