#!/usr/bin/env bash
# Single-row predictions beside nginx `return 200` with a body of the same size: one worker on core 0,
# the load generator with 32 keep-alive connections on core 1, alternating rounds in one run, medians
# and ratios; nginx against a second nginx tells the noise. Then start-up time and resident memory. Behind
# each figure stands what is expected of it; a median that misses that by more than the noise is a bug.
# Traffic goes to loopback only. ROUNDS and SECONDS_PER_ROUND change the length.
set -euo pipefail
cd "$(dirname "$0")/../.."

rounds=${ROUNDS:-7}
duration=${SECONDS_PER_ROUND:-2}
ticks=$(getconf CLK_TCK)
folder=$(mktemp -d)
pids=()
cleanup() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$folder"
}
trap cleanup EXIT

free_port() { # a port nobody listens on, below those that connections are given
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}

wait_for() { # url
    for _ in $(seq 200); do
        curl -sf -o /dev/null "$1" && return
        sleep 0.02
    done
    echo "bench: $1 does not answer" >&2
    exit 1
}

start_nginx() { # port body -> prints the worker's pid
    local port=$1 body=$2 home=$folder/nginx-$1
    mkdir -p "$home"
    cat >"$home/nginx.conf" <<CONF
daemon off; worker_processes 1; pid $home/pid; error_log $home/error.log;
events { worker_connections 256; }
http {
    access_log off; keepalive_requests 100000000; client_body_temp_path $home/body;
    server { listen 127.0.0.1:$port; location / { default_type application/json; return 200 '$body'; } }
}
CONF
    taskset -c 0 nginx -e "$home/error.log" -p "$home" -c "$home/nginx.conf" &
    pids+=($!)
    wait_for "http://127.0.0.1:$port/"
    pgrep -P $! >"$home/worker"
}

cpu_ticks() { # pid: user + system
    awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"
}

measure() { # name port path pid: appends "requests/s cpu_us p50 p99" to a file
    local before after output
    before=$(cpu_ticks "$4")
    output=$(taskset -c 1 wrk -t1 -c32 -d"$duration" --latency -s tests/bench/predict.lua "http://127.0.0.1:$2$3")
    after=$(cpu_ticks "$4")
    echo "$output" | awk -v t=$((after - before)) -v hz="$ticks" '
        /requests in/ { requests = $1 } /Requests\/sec/ { rate = $2 } / 50%/ { p50 = $2 } / 99%/ { p99 = $2 }
        /Non-2xx|Socket errors/ { bad = 1; print "bench: " $0 >"/dev/stderr" }
        END { if (bad || requests == 0) exit 1; printf "%.0f %.3f %s %s\n", rate, t * 1e6 / hz / requests, p50, p99 }' >>"$folder/$1"
}

median() { sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
column() { awk -v c="$2" '{ print $c }' "$folder/$1"; }
ratio() { # a b column: median of the ratios, round by round
    paste <(column "$1" "$3") <(column "$2" "$3") | awk '{ print $1 / $2 }' | median
}
row() { # name
    printf '%-10s %10.0f req/s %8.2f us CPU/request   p50 %8s p99 %8s\n' "$1" "$(column "$1" 1 | median)" \
        "$(column "$1" 2 | median)" "$(column "$1" 3 | sort -h | sed -n "$(((rounds + 1) / 2))p")" \
        "$(column "$1" 4 | sort -h | sed -n "$(((rounds + 1) / 2))p")"
}

http_port=$(free_port) metrics_port=$(free_port) nginx_port=$(free_port) noise_port=$(free_port)
taskset -c 0 build/ridged --model_dir model/california-housing.json --host 127.0.0.1 --workers 1 \
    --http_port "$http_port" --metrics_port "$metrics_port" --drain_delay 0 2>"$folder/ridged.log" &
ridged=$!
pids+=("$ridged")
wait_for "http://127.0.0.1:$http_port/readyz"
path=/v1/models/california-housing:predict
answer=$(curl -s "http://127.0.0.1:$http_port$path" -d '{"instances":[[8.3252,41.0,6.984,1.0238,322.0,2.5556,37.88,-122.23]]}')
start_nginx "$nginx_port" "$answer"
start_nginx "$noise_port" "$answer"
nginx=$(cat "$folder/nginx-$nginx_port/worker") noise=$(cat "$folder/nginx-$noise_port/worker")

echo "single-row predict, 32 keep-alive connections, 1 worker on core 0, wrk on core 1, $rounds rounds of ${duration}s"
for _ in $(seq "$rounds"); do
    measure nginx "$nginx_port" / "$nginx"
    measure ridged "$http_port" "$path" "$ridged"
    measure nginx-2 "$noise_port" / "$noise"
done
row nginx
row ridged
row nginx-2
printf 'ridged / nginx: %.2fx the requests (expected at least 0.90x), %.2fx the CPU per request\n' \
    "$(ratio ridged nginx 1)" "$(ratio ridged nginx 2)"
printf 'nginx-2 / nginx, the noise: %.2fx, %.2fx\n' "$(ratio nginx-2 nginx 1)" "$(ratio nginx-2 nginx 2)"

awk '/VmRSS/ { printf "resident memory after the load: %.1f MB (expected at most 12)\n", $2 / 1024 }' \
    "/proc/$ridged/status"
kill "$ridged"
wait "$ridged" 2>/dev/null || true

build/bench_start build/ridged "$(free_port)"
