# For scripts with clients of MQTT: a server of its own, stopped at the end, and
# identities for devices. Sourced after set -eu, in the repository's root.
#
#	$work       directory for files, removed at the end
#	$http       http://host:port
#	$host $port of MQTT with TLS
#	$ca         file of the authority

work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT

# member prints one string member of JSON on standard input.
member() { sed -n 's/.*"'"$1"'": *"\([^"]*\)".*/\1/p'; }

# call METHOD PATH [BODY] [HEADER] does a request of the control plane.
call() { curl -fsS -X "$1" "$http$2" -d "${3-}" ${4:+-H "$4"}; }

# within SECONDS COMMAND... waits until the command succeeds.
within() {
	local tries=$(($1 * 10))
	shift
	until "$@"; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || { echo "waited in vain: $*" >&2; exit 1; }
		sleep 0.1
	done
}

serve() {
	go build -o "$work/otasim" .
	"$work/otasim" serve --http 127.0.0.1:0 --mqtts 127.0.0.1:0 --ready-file "$work/ready.json" >"$work/serve.log" 2>&1 &
	within 20 test -e "$work/ready.json"
	http=http://$(member http <"$work/ready.json")
	mqtts=$(member mqtts <"$work/ready.json")
	host=${mqtts%:*} port=${mqtts##*:}
	ca=$(member ca_file <"$work/ready.json")
	thing='${iot:Connection.Thing.ThingName}'
	policy='{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:*:*:client/'$thing'"},
		{"Effect":"Allow","Action":"iot:Subscribe","Resource":["arn:aws:iot:*:*:topicfilter/$aws/things/'$thing'/*","arn:aws:iot:*:*:topicfilter/lamps/*"]},
		{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":["arn:aws:iot:*:*:topic/$aws/things/'$thing'/*","arn:aws:iot:*:*:topic/lamps/*"]}]}'
	policy=$(printf %s "$policy" | tr -d '\n\t' | sed 's/"/\\"/g')
	call POST /policies/device "{\"policyDocument\":\"$policy\"}" >/dev/null
}

# device NAME makes a thing with $work/NAME.pem and $work/NAME.key. Its policy allows
# the client id NAME, its own reserved topics, and topics under lamps/.
device() {
	local csr answer arn
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" -keyout "$work/$1.key" -out "$work/$1.csr" 2>/dev/null
	csr=$(awk '{printf "%s\\n", $0}' "$work/$1.csr")
	answer=$(call POST '/certificates?setAsActive=true' "{\"certificateSigningRequest\":\"$csr\"}")
	printf %b "$(printf %s "$answer" | member certificatePem)" >"$work/$1.pem"
	arn=$(printf %s "$answer" | member certificateArn)
	call POST "/things/$1" '{}' >/dev/null
	call PUT /target-policies/device "{\"target\":\"$arn\"}" >/dev/null
	call PUT "/things/$1/principals" '' "x-amzn-principal: $arn" >/dev/null
}

# job ID THING makes a job for one thing.
job() {
	call PUT "/jobs/$1" "{\"targets\":[\"arn:aws:iot:us-east-1:123456789012:thing/$2\"],\"document\":\"{\\\"operation\\\":\\\"blink\\\"}\"}" >/dev/null
}
