#!/usr/bin/env bash
# Single-row predictions beside nginx `return 200` with a body of the same size: one worker on core 0,
# the load generator with 32 keep-alive connections on core 1, alternating rounds in one run, medians
# and ratios; nginx against a second nginx tells the noise. Then start-up time and resident memory, and what
# it costs to watch what is predicted: the server beside the same one whose drift, expected errors and ids are
# left out (unobserved.c). Behind each figure stands what is expected of it; a median that misses that by more
# than the noise is a bug. Traffic goes to loopback only. ROUNDS and SECONDS_PER_ROUND change the length, MODEL
# the model.
set -euo pipefail
cd "$(dirname "$0")/../.."

rounds=${ROUNDS:-7}
duration=${SECONDS_PER_ROUND:-2}
model=${MODEL:-model/california-housing.json}
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

declare -A port server
start_ridged() { # name program [model [option]]: sets port[name] and server[name]
    port[$1]=$(free_port)
    taskset -c 0 "$2" --model_dir "${3:-$model}" --host 127.0.0.1 --workers 1 --http_port "${port[$1]}" \
        --metrics_port "$(free_port)" --drain_delay 0 ${4:+"$4"} 2>"$folder/$1.log" &
    server[$1]=$!
    pids+=($!)
    wait_for "http://127.0.0.1:${port[$1]}/readyz"
}

# A linear model costs next to nothing, so it shows what the server itself takes.
start_linear() {
    awk 'BEGIN {
        srand(1); print "MedInc,HouseAge,AveRooms,AveBedrms,Population,AveOccup,Latitude,Longitude,MedHouseVal"
        for (i = 0; i < 500; i++) { for (j = 0; j < 8; j++) printf "%.6f,", rand(); printf "%.6f\n", rand() } }' \
        >"$folder/linear.csv"
    build/ridge train --features linear --data "$folder/linear.csv" --target MedHouseVal --name california-housing \
        --out "$folder/linear.json"
    start_ridged linear build/ridged "$folder/linear.json"
}

cpu_ns() { # pid: of all its threads
    cat "/proc/$1/task"/*/schedstat | awk '{ sum += $1 } END { printf "%.0f\n", sum }'
}

measure() { # name port path pid [connections [rows]]: appends "requests/s cpu_us p50 p99" to a file
    local before after output
    before=$(cpu_ns "$4")
    output=$(ROWS=${6:-1} taskset -c 1 wrk -t1 -c"${5:-32}" -d"$duration" --latency -s tests/bench/predict.lua \
        "http://127.0.0.1:$2$3")
    after=$(cpu_ns "$4")
    echo "$output" | awk -v ns=$((after - before)) '
        /requests in/ { requests = $1 } /Requests\/sec/ { rate = $2 } / 50%/ { p50 = $2 } / 99%/ { p99 = $2 }
        /Non-2xx|Socket errors/ { bad = 1; print "bench: " $0 >"/dev/stderr" }
        END { if (bad || requests == 0) exit 1; printf "%.0f %.3f %s %s\n", rate, ns / 1e3 / requests, p50, p99 }' >>"$folder/$1"
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

nginx_port=$(free_port) noise_port=$(free_port)
start_ridged ridged build/ridged
path=/v1/models/california-housing:predict
answer=$(curl -s "http://127.0.0.1:${port[ridged]}$path" -d '{"instances":[[8.3252,41.0,6.984,1.0238,322.0,2.5556,37.88,-122.23]]}')
start_linear
start_nginx "$nginx_port" "$answer"
start_nginx "$noise_port" "$answer"
nginx=$(cat "$folder/nginx-$nginx_port/worker") noise=$(cat "$folder/nginx-$noise_port/worker")

echo "single-row predict, 32 keep-alive connections, 1 worker on core 0, wrk on core 1, $rounds rounds of ${duration}s"
for _ in $(seq "$rounds"); do
    measure nginx "$nginx_port" / "$nginx"
    measure linear "${port[linear]}" "$path" "${server[linear]}"
    measure ridged "${port[ridged]}" "$path" "${server[ridged]}"
    measure nginx-2 "$noise_port" / "$noise"
done
row nginx
row linear
row ridged
row nginx-2
printf 'ridged, linear model / nginx: %.2fx the requests (expected at least 0.90x), %.2fx the CPU per request\n' \
    "$(ratio linear nginx 1)" "$(ratio linear nginx 2)"
printf 'ridged, bundled model / nginx: %.2fx the requests, %.2fx the CPU per request\n' \
    "$(ratio ridged nginx 1)" "$(ratio ridged nginx 2)"
printf 'nginx-2 / nginx, the noise: %.2fx, %.2fx\n' "$(ratio nginx-2 nginx 1)" "$(ratio nginx-2 nginx 2)"

awk '/VmRSS/ { printf "resident memory after the load: %.1f MB (expected at most 12)\n", $2 / 1024 }' \
    "/proc/${server[ridged]}/status"

start_ridged unobserved build/ridged_unobserved
start_ridged watched build/ridged "$model" --feedback_predictions=0
percent() { awk -v r="$(ratio "$1" "$2" 2)" 'BEGIN { print 100 * (r - 1) }'; } # a more than b
observe() { # rows connections
    local name
    for _ in $(seq "$rounds"); do
        for name in ridged watched unobserved; do
            measure "$name-$1" "${port[$name]}" "$path" "${server[$name]}" "$2" "$1"
        done
    done
    printf '%5d rows a request, %.2f us CPU: drift and expected errors %+.1f %% (expected at most 3), with ids %+.1f %%\n' \
        "$1" "$(column "ridged-$1" 2 | median)" "$(percent "watched-$1" "unobserved-$1")" \
        "$(percent "ridged-$1" "unobserved-$1")"
}
observe 1 32
observe 256 8
observe 10000 4
for name in ridged watched unobserved; do
    kill "${server[$name]}"
    wait "${server[$name]}" 2>/dev/null || true
done

build/bench_start build/ridged "$(free_port)"
