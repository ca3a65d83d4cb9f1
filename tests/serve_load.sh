#!/bin/sh
# How the server bears more than it can do: 64 connections at several times its capacity, then 500
# slow ones beside a healthy client. Needs wrk and curl; says so where one is absent.
#
#   tests/serve_load.sh MODEL [SECONDS]        60 seconds if nothing is said
#
# Checks: only 200 and 429 (and no connection lost); the 99th percentile of accepted requests within
# queue length x batch time; memory flat within 10 % once warm; the healthy client without an error.
set -eu

model=${1:?a model directory}
seconds=${2:-60}
program=${PROGRAM:-target/release/sensorium}
port=${PORT:-18080}
queue=16
batch=8
for tool in wrk curl python3; do
    command -v "$tool" > /dev/null || { echo "skipped: $tool is not installed"; exit 0; }
done

home=$(mktemp -d)
"$program" serve "$model" --listen "127.0.0.1:$port" --queue "$queue" --batch "$batch" 2> "$home/log" &
server=$!
trap 'kill "$server" 2> /dev/null || true; rm -rf "$home"' EXIT
until curl -sf "http://127.0.0.1:$port/readyz" > /dev/null; do
    kill -0 "$server" || { cat "$home/log"; exit 1; }
    sleep 0.2
done

cat > "$home/ask.lua" << 'LUA'
wrk.method = "POST"
wrk.body = '{"input": "a red apple beside a sleeping dog"}'
wrk.headers["content-type"] = "application/json"
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init() counts = ""; c200 = 0; c429 = 0; other = 0; took = {} end
function response(status)
    if status == 200 then c200 = c200 + 1 elseif status == 429 then c429 = c429 + 1 else other = other + 1 end
end
function done(summary)
    local a, b, c = 0, 0, 0
    for _, thread in ipairs(threads) do
        a, b, c = a + thread:get("c200"), b + thread:get("c429"), c + thread:get("other")
    end
    local e = summary.errors
    print(string.format("answers: %d of 200, %d of 429, %d others; lost: %d connect, %d read, %d write, %d timeout",
        a, b, c, e.connect, e.read, e.write, e.timeout))
end
LUA

memory() { awk '/VmRSS/ { print $2 }' "/proc/$server/status"; }
load() { wrk -t 2 -c 64 -d "${1}s" -s "$home/ask.lua" "http://127.0.0.1:$port/v1/embeddings"; }
metrics() { curl -s "http://127.0.0.1:$port/metrics"; }

load 5 > /dev/null
before=$(memory)
metrics > "$home/before"
load "$seconds" | tee "$home/said"
after=$(memory)
metrics > "$home/after"

# Beside wrk's own numbers, the server's: its histograms tell accepted from refused requests.
python3 - "$home" "$before" "$after" "$queue" "$batch" << 'PY'
import re, sys
home, before, after, queue, batch = sys.argv[1], *map(int, sys.argv[2:])
def read(name):
    found = {}
    for line in open(f"{home}/{name}"):
        if not line.startswith("#"):
            key, value = line.rsplit(" ", 1)
            found[key] = float(value)
    return found
old, new = read("before"), read("after")
change = {key: value - old.get(key, 0.0) for key, value in new.items()}
batches = change["sensorium_batch_seconds_count"]
mean = change["sensorium_batch_seconds_sum"] / batches
items = change["sensorium_batch_items_sum"] / batches
accepted = change['sensorium_requests_total{route="/v1/embeddings",status="200"}']
refused = change.get('sensorium_requests_total{route="/v1/embeddings",status="429"}', 0.0)
# The upper edge of the bucket that 99 % are within; edges are a factor of 1.5 apart.
def p99(name, labels=""):
    edges = sorted((float(re.search(r'le="([^"]+)"', key)[1].replace("+Inf", "inf")), value)
                   for key, value in change.items() if key.startswith(f"{name}_bucket") and labels in key)
    return next(edge for edge, value in edges if value >= 0.99 * edges[-1][1])
slowest = p99("sensorium_batch_seconds")
latency = p99("sensorium_request_seconds", 'route="/v1/embeddings",status="200"')
bound = (queue / batch + 1) * slowest
said = open(f"{home}/said").read()
_, _, others, *lost = map(int, re.search(
    r"answers: (\d+) of 200, (\d+) of 429, (\d+) others; lost: (\d+) connect, (\d+) read, (\d+) write, (\d+) timeout", said).groups())
print(f"asked {(accepted + refused) / accepted:.1f} times the capacity; batches: {batches:.0f}, mean {items:.1f} items in {mean * 1e3:.1f} ms; accepted {accepted:.0f}, refused {refused:.0f}")
print(f"99 % of accepted requests within {latency / 1.5 * 1e3:.0f} to {latency * 1e3:.0f} ms, of batches within {slowest * 1e3:.0f} ms; "
      f"queue length x batch time is {bound * 1e3:.0f} ms")
print(f"memory: {before // 1024} MiB before, {after // 1024} MiB after")
wrong = []
if others or any(lost): wrong.append("answers other than 200 and 429, or connections lost")
if accepted + refused < 4 * accepted: wrong.append("the load was below four times the capacity")
if after > 1.1 * before: wrong.append("memory grew by more than 10 %")
if latency / 1.5 > bound: wrong.append("the 99th percentile exceeds queue length x batch time")
if wrong: sys.exit("FAILED: " + "; ".join(wrong))
PY

# 500 connections that never finish what they begin, and a client that must not notice.
python3 - "$port" << 'PY'
import http.client, json, socket, sys, time
port = int(sys.argv[1])
slow = []
for number in range(500):
    connection = socket.create_connection(("127.0.0.1", port))
    connection.send(b"GET /hea" if number % 2 else
        b"POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{")
    slow.append(connection)
body, errors, times = json.dumps({"input": "a healthy client"}), 0, []
for _ in range(100):
    begin = time.time()
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    client.request("POST", "/v1/embeddings", body, {"content-type": "application/json"})
    errors += client.getresponse().status != 200
    times.append(time.time() - begin)
print(f"beside 500 slow connections: {errors} errors in 100 requests, slowest {max(times) * 1e3:.0f} ms")
sys.exit(1 if errors else 0)
PY

kill -TERM "$server"
wait "$server" && echo "ended with 0"
