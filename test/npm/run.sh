#!/usr/bin/env bash
# The npm package aws-iot-device-sdk-v2 as a device: a job over MQTT with mutual TLS,
# once with its client of MQTT 3.1.1, once with that of MQTT 5.
set -eu
[ -n "${OTASIM_BOUNDED-}" ] || OTASIM_BOUNDED=1 exec timeout --foreground 300 "$0" "$@"
cd "$(dirname "$0")/../.."

for tool in node npm openssl curl; do
	command -v $tool >/dev/null || { echo "npm: SKIPPED, there is no $tool"; exit 0; }
done

. test/server.sh
cp test/npm/package.json test/npm/package-lock.json test/npm/device.js "$work"
# The package brings the binaries of aws-crt for common systems; nothing is compiled.
(cd "$work" && npm ci --ignore-scripts --no-audit --no-fund >npm.log 2>&1) ||
	{ echo "npm: SKIPPED, aws-iot-device-sdk-v2 cannot be installed: $(grep -m 1 'npm error' "$work/npm.log")"; exit 0; }
(cd "$work" && node -e 'require("aws-iot-device-sdk-v2")' 2>node.log) ||
	{ echo "npm: SKIPPED, aws-crt has no binary for this system: $(grep -m 1 Error "$work/node.log")"; exit 0; }
serve

for version in 3 5; do
	device "sdk-$version"
	job "blink-$version" "sdk-$version"
	(cd "$work" && timeout 60 node device.js "$host" "$port" "$ca" "sdk-$version.pem" "sdk-$version.key" "sdk-$version" "$version")
	status=$(curl -fsS "$http/jobs/blink-$version" | member status)
	[ "$status" = COMPLETED ] || { echo "npm: FAILED, blink-$version is $status" >&2; exit 1; }
done
echo "npm: both jobs are COMPLETED"
