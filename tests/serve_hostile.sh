#!/bin/sh
# Requests made up from the server's own document, right ones and wrong ones: none may be answered
# with 5xx, nor otherwise than the document says. Needs schemathesis (PyPI) and curl; says so where
# one is absent.
#
#   tests/serve_hostile.sh MODEL INDEX [SECONDS]     120 seconds if nothing is said
#
# Then: without the key 401 everywhere but at health, and no byte of the key in what the server says.
set -eu

model=${1:?a model directory}
index=${2:?an index of it}
seconds=${3:-120}
program=${PROGRAM:-target/release/sensorium}
schemathesis=${SCHEMATHESIS:-st}
port=${PORT:-18082}
for tool in "$schemathesis" curl; do
    command -v "$tool" > /dev/null || { echo "skipped: $tool is not installed"; exit 0; }
done

home=$(mktemp -d)
key="key-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"
echo "$key" > "$home/key"
"$program" serve "$model" --index "$index" --listen "127.0.0.1:$port" --api-key-file "$home/key" > "$home/log" 2>&1 &
server=$!
trap 'kill "$server" 2> /dev/null || true; rm -rf "$home"' EXIT
until curl -sf "http://127.0.0.1:$port/readyz" > /dev/null; do
    kill -0 "$server" || { cat "$home/log"; exit 1; }
    sleep 0.2
done

# Not checked: that all data which fits the document is accepted, since texts that look like data
# URLs, or numbers of dimensions, do not follow from it.
checks=not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance
checks=$checks,negative_data_rejection,allow_header_conformance,unsupported_method
(cd "$home" && "$schemathesis" run "http://127.0.0.1:$port/openapi.json" --header "Authorization: Bearer $key" \
    --workers 2 --max-time "$seconds" --checks "$checks" > said 2>&1) || { sed "s/$key/KEY/g" "$home/said"; exit 1; }
sed -n '/SUMMARY/,$p' "$home/said"

for path in / /page.js /openapi.json /metrics /v1/models /v1/items /v1/items/x /v1/search /v1/embeddings /else; do
    status=$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port$path")
    [ "$status" = 401 ] || { echo "FAILED: $path answers $status without the key"; exit 1; }
done
for path in /healthz /readyz; do
    curl -sf "http://127.0.0.1:$port$path" > /dev/null || { echo "FAILED: $path asks for the key"; exit 1; }
done
curl -s -H "Authorization: Bearer $key" "http://127.0.0.1:$port/metrics" | grep requests_total | sed 's/.*status="//; s/"} / /' |
    awk '{ sum[$1] += $2 } END { for (status in sum) { print "answers of " status ": " sum[status]; wrong += status ~ /^5/ }; exit wrong > 0 }'
if grep -q "$key" "$home/log"; then echo "FAILED: the key is in the log"; exit 1; fi

kill -TERM "$server"
wait "$server"
echo "ended with 0; the key is in no line of the log"
