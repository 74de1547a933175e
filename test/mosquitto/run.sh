#!/usr/bin/env bash
# The command line clients of mosquitto with client certificates against otasim serve:
# policy denials, takeover of a client id, the limit of payloads, $next/get.
set -euo pipefail
[ -n "${OTASIM_BOUNDED-}" ] || OTASIM_BOUNDED=1 exec timeout --foreground 120 "$0" "$@"
cd "$(dirname "$0")/../.."

command -v mosquitto_rr >/dev/null || [ "$(id -u)" != 0 ] || { apt-get -q update && apt-get -q install -y mosquitto-clients; } >/dev/null 2>&1 || true
for tool in mosquitto_pub mosquitto_sub mosquitto_rr openssl curl; do
	command -v $tool >/dev/null || { echo "mosquitto: SKIPPED, there is no $tool and it cannot be installed"; exit 0; }
done

. test/server.sh
serve
device lamp-1
device lamp-2

# identity NAME sets the options of a client that is the device NAME. Of one client
# id the cloud takes one connection a second.
identity() {
	sleep 1.1
	options=(-h "$host" -p "$port" --cafile "$ca" --cert "$work/$1.pem" --key "$work/$1.key" -i "$1")
}

# client TOOL NAME ARGS... runs pub or rr as the device NAME.
client() {
	local tool=$1
	identity "$2"
	shift 2
	timeout 20 "mosquitto_$tool" "${options[@]}" "$@"
}

# listen NAME FILE ARGS... starts mosquitto_sub as the device NAME and waits until it
# has subscribed.
listen() {
	local file=$2
	identity "$1"
	shift 2
	timeout 60 stdbuf -oL mosquitto_sub -d -q 1 "${options[@]}" "$@" >"$work/$file" 2>&1 &
	within 10 saw SUBACK "$file"
}

ok() { echo "mosquitto: $*"; }
fail() { echo "mosquitto: FAILED, $*" >&2; exit 1; }
saw() { grep -q "$1" "$work/$2"; }

listen lamp-2 heard -t 'lamps/#' -F '%t %l'
client pub lamp-1 -q 1 -t lamps/state -m on || fail "what the policy allows was refused"
within 10 saw 'lamps/state 2' heard
ok "what the policy allows arrives"

# A denial ends the connection before the acknowledgment.
! client pub lamp-1 -d -q 1 -t fans/state -m on >"$work/denied" 2>&1 || fail "the policy does not allow fans/state"
saw 'Client lamp-1 sending PUBLISH' denied && ! saw 'received PUBACK' denied || fail "$(cat "$work/denied")"
ok "a publish that the policy denies ends the connection"
! client pub lamp-1 -q 1 -t '$aws/things/lamp-2/jobs/$next/get' -m '{}' 2>/dev/null || fail "lamp-1 may not ask for lamp-2"
ok "so does a request in the name of another thing"
! client pub lamp-1 -d -i fan-1 -t lamps/state -m on >"$work/other" 2>&1 || fail "the certificate of lamp-1 connected as fan-1"
saw 'received CONNACK (7)' other || fail "$(cat "$work/other")"
! client pub lamp-1 -d -V mqttv5 -i fan-2 -t lamps/state -m on >"$work/other" 2>&1 || fail "the certificate of lamp-1 connected as fan-2"
saw 'received CONNACK (135)' other || fail "$(cat "$work/other")"
ok "the client id of another thing is refused, over MQTT 3.1.1 and 5"
! timeout 10 mosquitto_pub -h "$host" -p "$port" --cafile "$ca" -i lamp-1 -t lamps/state -m on 2>/dev/null || fail "connected without a certificate"
ok "no connection without a certificate"

# The limit is 128 KiB.
head -c 131072 /dev/zero >"$work/limit"
head -c 131073 /dev/zero >"$work/beyond"
client pub lamp-1 -q 1 -t lamps/limit -f "$work/limit" || fail "131072 bytes were refused"
within 10 saw 'lamps/limit 131072' heard
! client pub lamp-1 -q 1 -t lamps/beyond -f "$work/beyond" 2>/dev/null || fail "131073 bytes were accepted"
! saw lamps/beyond heard || fail "131073 bytes arrived"
ok "131072 bytes arrive, 131073 end the connection"

# A second connection of a client id ends the first.
listen lamp-1 first -t lamps/none
client pub lamp-1 -q 1 -t lamps/second -m on || fail "the second connection of lamp-1 was refused"
within 10 saw 'connection was lost' first
ok "the second connection of a client id takes over"

# An answer from the Jobs service, over both versions of the protocol.
device lamp-3
job blink lamp-3
for version in mqttv311 mqttv5; do
	answer=$(client rr lamp-3 -V $version -t '$aws/things/lamp-3/jobs/$next/get' -e '$aws/things/lamp-3/jobs/$next/get/accepted' -m '{"clientToken":"'$version'"}')
	case $answer in
	*'"clientToken":"'$version'"'*'"jobId":"blink"'* | *'"jobId":"blink"'*'"clientToken":"'$version'"'*) ;;
	*) fail "\$next/get over $version: $answer" ;;
	esac
done
ok "\$next/get is answered with the job, over MQTT 3.1.1 and 5"
