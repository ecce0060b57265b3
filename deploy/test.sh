#!/usr/bin/env bash
# Checks what is in deploy/: the systemd units, the image, and the compose file, by
# bringing three nodes, two nsqds and nsqadmin up, with a stock nsqd beside them, killing
# containers and cutting one off the network; and the drills of such a project, on
# another that nsqdrill brings up.
# Everything it makes carries a name of this run and is removed at the end.
# Exit status: 0 all held, 1 something did not, 77 there is no Docker Engine.
set -euo pipefail
cd "$(dirname "$0")"

say() { printf '%s %s\n' "$(date +%H:%M:%S)" "$*"; }
die() { say "FAILED: $*" >&2; exit 1; }

# eventually SECONDS WHAT COMMAND...: until the command succeeds.
eventually() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        ((SECONDS < end)) || die "$what: not in time"
        sleep 0.2
    done
    say "ok: $what"
}

# --- the systemd units --------------------------------------------------------

if command -v systemd-analyze >/dev/null; then
    # The units name binaries that are installed nowhere here; any will do to verify.
    units=$(mktemp -d)
    for unit in nsqlookupd nsqd nsqadmin; do
        sed "s|/usr/local/bin/$unit|/bin/true|" "systemd/$unit.service" >"$units/$unit.service"
        complaints=$(systemd-analyze verify "$units/$unit.service" 2>&1) || die "$unit.service: $complaints"
        [[ -z $complaints ]] || die "$unit.service: $complaints"
    done
    rm -r "$units"
    say "ok: the systemd units verify"
else
    say "no systemd-analyze: the units are not checked"
fi

# --- containers ---------------------------------------------------------------

if ! timeout 10 docker info >/dev/null 2>&1; then
    say "no Docker Engine: skipped"
    exit 77
fi
if timeout 10 docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
elif command -v docker-compose >/dev/null; then
    compose=(docker-compose)
else
    die "there is a Docker Engine but neither 'docker compose' nor docker-compose"
fi

project=nsqraft-test-$$
export NSQRAFT_IMAGE=nsqraft-test:$$
compose=(timeout 120 "${compose[@]}" --project-name "$project" --project-directory compose --file compose/compose.yaml)

# Ports below those given to outgoing connections, the first at which nobody answers.
free_port() {
    while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
    printf -v "$1" %d "$port"
    export "${1?}"
    port=$((port + 1))
}
port=$((20000 + RANDOM % 10000))
for i in N1 N2 N3 D1 D2 S; do
    free_port "${i}_TCP_PORT"
    free_port "${i}_HTTP_PORT"
done
free_port A_HTTP_PORT
work=$(mktemp -d)

clean_up() {
    local status=$?
    trap - EXIT
    [[ -z ${stock:-} ]] || kill -9 "$stock" 2>/dev/null || true
    if ((status != 0)); then
        [[ ! -f $work/stock.log ]] || tail -n 20 "$work/stock.log"
        "${compose[@]}" logs --no-color --tail=40 || true
    fi
    "${compose[@]}" down --volumes --timeout 5 >/dev/null 2>&1 || say "could not remove the containers of $project"
    docker image rm "$NSQRAFT_IMAGE" >/dev/null 2>&1 || true
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# A service is called by its letter and number: N1 is nsqlookupd1, D1 nsqd1, A nsqadmin,
# and S the stock nsqd, which runs outside.
http() { local p=${1}_HTTP_PORT; echo "http://127.0.0.1:${!p}"; }
ask() { curl --silent --fail --max-time 3 "$(http "$1")$2"; }
ready() { ask "$1" /readyz >/dev/null; }
healthy() { [[ $(docker inspect --format '{{.State.Health.Status}}' "${container[$1]}") == healthy ]]; }
# lists NODE TOPIC NSQD...: the lookup on that node has exactly these producers, and
# the three real nsqds.
real=(nsqd1 nsqd2 stock)
lists() {
    local node=$1 topic=$2 got want
    shift 2
    got=$(ask "N$node" "/lookup?topic=$topic" | grep -o '"broadcast_address":"[^"]*"' | cut -d'"' -f4 | sort | tr '\n' ' ') || true
    want=$(printf '%s\n' "$@" "${real[@]}" | sort | tr '\n' ' ')
    [[ $got == "$want" ]]
}
publish() { [[ $(curl --silent --max-time 3 -d "$3" "$(http "$1")/pub?topic=$2") == OK ]]; }
# holds NSQD TOPIC CHANNEL NUMBER: so many messages wait in the channel.
holds() { [[ $(ask "$1" "/stats?format=json&topic=$2&channel=$3&include_mem=false" | grep -o '"channel_name":"'"$3"'","depth":[0-9]*') == *:"$4" ]]; }
leader() { ask "N$1" /cluster | grep -o '"leader": *"n[123]"' | grep -o '[123]"$' | tr -d '"'; }

# A producer, as an nsqd is one: a V1 connection that stays open. register NAME NODE TOPIC
# opens it; read_reply takes one answer from it.
declare -A connection
read_reply() {
    local fd=$1 n
    n=$(timeout 3 head -c 4 <&"$fd" | od -An -tu4 --endian=big) || return 1
    [[ -n $n ]] || return 1
    timeout 3 head -c "$((n))" <&"$fd"
}
register() {
    local name=$1 node=$2 topic=$3 body size fd reply
    local p=N${node}_TCP_PORT
    exec {fd}<>"/dev/tcp/127.0.0.1/${!p}" || return 1
    connection[$name]=$fd
    body="{\"broadcast_address\":\"$name\",\"hostname\":\"$name\",\"tcp_port\":4150,\"http_port\":4151,\"version\":\"1.3.0\"}"
    printf -v size '\\x%02x' 0 0 $((${#body} >> 8)) $((${#body} & 255))
    printf '  V1IDENTIFY\n%b%s' "$size" "$body" >&"$fd"
    reply=$(read_reply "$fd") || return 1
    [[ $reply == *broadcast_address* ]] || return 1
    printf 'REGISTER %s archive\nPING\n' "$topic" >&"$fd"
    [[ $(read_reply "$fd") == OK && $(read_reply "$fd") == OK ]]
}
registers() { register "$@" || die "$1 cannot register $3 with node $2"; say "ok: $1 registered $3 with node $2"; }

say "building $NSQRAFT_IMAGE"
timeout 300 docker/build.sh "$NSQRAFT_IMAGE" >/dev/null
for program in ../cmd/*/; do
    for folder in / /bin/ /usr/local/bin/; do
        path=$folder$(basename "$program")
        timeout 30 docker run --rm --network none "$NSQRAFT_IMAGE" "$path" --version >/dev/null || die "no $path in the image"
    done
done
[[ $(docker image inspect --format '{{.Config.User}}' "$NSQRAFT_IMAGE") == 65532:65532 ]] || die "the image's user is not 65532"
say "ok: the image has the stock paths and a user without rights"

say "breaking a project of nsqdrill's own in each way that it has"
# A name of ours for what it brings up is not needed: it takes that down itself, also if
# it is killed.
drilled=$(timeout 330 go test -C .. -count=1 -timeout 5m -v -run '^TestCompose$' ./internal/drill/env 2>&1) || die "TestCompose: $drilled"
[[ $drilled == *"--- PASS: TestCompose"* ]] || die "TestCompose did not run: $drilled"
say "ok: nsqdrill breaks and heals containers"

"${compose[@]}" up -d >/dev/null 2>&1 || die "compose up"
declare -A container
for i in 1 2 3; do container[N$i]=$("${compose[@]}" ps -q "nsqlookupd$i" 2>/dev/null); done
for i in 1 2; do container[D$i]=$("${compose[@]}" ps -q "nsqd$i" 2>/dev/null); done
container[A]=$("${compose[@]}" ps -q nsqadmin 2>/dev/null)
for i in N1 N2 N3 D1 D2 A; do eventually 60 "$i is ready" ready $i; done
for i in N1 N2 N3 D1 D2 A; do eventually 60 "container $i is healthy" healthy $i; done

# What nsqadmin lists, by broadcast address.
shows() { [[ $(ask A /api/nodes | grep -o '"broadcast_address":"[^"]*"' | cut -d'"' -f4 | sort | tr '\n' ' ') == "$* " ]]; }
eventually 10 "nsqadmin's API has both nsqds" shows nsqd1 nsqd2
# The whole page is read before it is looked through: a reader that leaves early would
# make curl fail.
page() { [[ $(ask A "$1") == *"$2"* ]]; }
page / '<html' || die "nsqadmin's first page is none"
page /nodes nsqd2 || die "nsqadmin's page of nodes has no nsqd2"
page /cluster 'n3' || die "nsqadmin's page of the cluster has no n3"
say "ok: nsqadmin's pages have them too"

say "building and starting a stock nsqd"
CGO_ENABLED=0 timeout 300 go build -C ../interop -trimpath -o "$work/nsqd" github.com/nsqio/nsq/apps/nsqd || die "build of the stock nsqd"
"$work/nsqd" --tcp-address="127.0.0.1:$S_TCP_PORT" --http-address="127.0.0.1:$S_HTTP_PORT" --broadcast-address=stock --data-path="$work" \
    --lookupd-tcp-address="127.0.0.1:$N1_TCP_PORT" --lookupd-tcp-address="127.0.0.1:$N2_TCP_PORT" --lookupd-tcp-address="127.0.0.1:$N3_TCP_PORT" \
    >"$work/stock.log" 2>&1 &
stock=$!
for i in D1 D2 S; do eventually 10 "a message is published to $i" publish $i orders hello; done

first=$(leader 1) || die "no leader"
others=(1 2 3)
unset "others[first-1]"
read -r a b <<<"${others[*]}"
registers nsqd-a "$first" orders # with the node that will be killed, and with it alone
registers nsqd-b "$a" orders
for i in 1 2 3; do eventually 5 "node $i lists all nsqds" lists $i orders nsqd-a nsqd-b; done

say "killing the container of an nsqd that holds messages"
curl --silent --fail -X POST "$(http D2)/topic/create?topic=kept" && curl --silent --fail -X POST "$(http D2)/channel/create?topic=kept&channel=archive" || die "no channel"
for body in one two three; do publish D2 kept $body || die "$body is not published"; done
timeout 30 docker kill "${container[D2]}" >/dev/null
real=(nsqd1 stock)
for i in 1 2 3; do eventually 5 "node $i lists it no more" lists $i orders nsqd-a nsqd-b; done
timeout 30 docker start "${container[D2]}" >/dev/null
real=(nsqd1 nsqd2 stock)
for i in 1 2 3; do eventually 10 "node $i lists it again" lists $i orders nsqd-a nsqd-b; done
eventually 5 "it still holds its three messages" holds D2 kept archive 3

say "killing the container of the leader, node $first"
timeout 30 docker kill "${container[N$first]}" >/dev/null
for i in $a $b; do lists "$i" orders nsqd-a nsqd-b || die "node $i has lost an nsqd"; done
say "ok: the two others still list all nsqds"
another_leads() { local l; l=$(leader "$a") && [[ $l != "$first" ]]; }
eventually 10 "another node leads" another_leads
registers nsqd-c "$b" orders
for i in $a $b; do eventually 5 "node $i lists another nsqd too" lists "$i" orders nsqd-a nsqd-b nsqd-c; done

say "starting node $first again"
timeout 30 docker start "${container[N$first]}" >/dev/null
eventually 30 "node $first is ready" ready "N$first"
registers nsqd-a "$first" orders # as an nsqd does that has lost its connection
for i in 1 2 3; do eventually 5 "node $i lists all nsqds" lists $i orders nsqd-a nsqd-b nsqd-c; done

cut=$(leader "$first") || die "no leader"
rest=(1 2 3)
unset "rest[cut-1]"
read -r a b <<<"${rest[*]}"
# Docker closes the connections through a published port when it takes the port away,
# and a connection that is closed ends its registrations. So nobody here relies on it.
for name in nsqd-a nsqd-b nsqd-c; do registers $name "$a" orders; done
say "cutting the leader, node $cut, off the network"
timeout 30 docker network disconnect "${project}_default" "${container[N$cut]}"
for i in $a $b; do lists "$i" orders nsqd-a nsqd-b nsqd-c || die "node $i has lost an nsqd"; done
say "ok: the two others still list all nsqds"
# Its published port is gone with its network; it is asked from inside.
inside() { timeout 10 docker exec "${container[N$cut]}" /nsqlookupd --check-health "http://127.0.0.1:4161$1" >/dev/null 2>&1; }
inside "/lookup?topic=orders" || die "the node that is cut off answers no lookup"
say "ok: the node that is cut off still answers lookups"
not_ready() { ! inside /readyz; }
eventually 10 "and says that it is not ready" not_ready
! inside "/lookup?topic=orders&consistent=true" || die "it answers a consistent lookup without a quorum"
say "ok: and refuses a consistent lookup"
inside /livez || die "it says that it should be restarted"
say "ok: and that it lives"
registers nsqd-d "$a" orders
for i in $a $b; do eventually 5 "node $i lists one more nsqd" lists "$i" orders nsqd-a nsqd-b nsqd-c nsqd-d; done

say "giving node $cut its network back"
timeout 30 docker network connect --alias "nsqlookupd$cut" "${project}_default" "${container[N$cut]}"
eventually 30 "node $cut is ready" ready "N$cut"
for i in 1 2 3; do eventually 5 "node $i lists all nsqds" lists $i orders nsqd-a nsqd-b nsqd-c nsqd-d; done

say "stopping everything"
"${compose[@]}" stop >/dev/null 2>&1 || die "compose stop"
kill "$stock" && wait "$stock" || die "the stock nsqd ended with status $?"
stock=
for i in N1 N2 N3 D1 D2 A; do
    status=$(docker inspect --format '{{.State.ExitCode}}' "${container[$i]}")
    [[ $status == 0 ]] || die "$i stopped with status $status"
done
say "ok: each ended with status 0"

say "starting an nsqd again"
timeout 30 docker start "${container[D2]}" >/dev/null
eventually 10 "D2 still holds its three messages, without a lookupd" holds D2 kept archive 3
say "all of it held"
