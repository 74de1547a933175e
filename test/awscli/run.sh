#!/usr/bin/env bash
# Runs the commands of docs/aws-cli.md in one shell and compares what each block
# prints with the block of text that follows it; no such block: it prints nothing.
set -eu
[ -n "${OTASIM_BOUNDED-}" ] || OTASIM_BOUNDED=1 exec timeout --foreground 300 "$0" "$@"
cd "$(dirname "$0")/../.."
root=$PWD

command -v aws >/dev/null || [ "$(id -u)" != 0 ] || { apt-get -q update && apt-get -q install -y awscli; } >/dev/null 2>&1 || true
for tool in aws openssl curl; do
	command -v $tool >/dev/null || { echo "awscli: SKIPPED, there is no $tool and it cannot be installed"; exit 0; }
done

work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT
go build -o "$work/bin/otasim" .
export PATH=$work/bin:$PATH AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true
unset AWS_PROFILE AWS_ENDPOINT_URL AWS_SESSION_TOKEN AWS_CA_BUNDLE
mkdir "$work/page"
cd "$work/page"
echo "awscli: $(aws --version 2>&1)"

# compare holds the output of the last commands against the page.
compare() {
	diff -u --label "docs/aws-cli.md, line $at" --label output <(printf %s "$1") "$work/out" || exit 1
}

in='' text='' commands='' at=0 n=0 blocks=0
: >"$work/out"
while IFS= read -r line <&3; do
	n=$((n + 1))
	case $in:$line in
	':```sh') compare ''; in=sh commands='' at=$n ;;
	':```text') in=text text='' ;;
	'sh:```')
		in='' blocks=$((blocks + 1))
		trap 'echo "docs/aws-cli.md: a command of line $at failed" >&2; cat "$work/out" >&2' ERR
		eval "$commands" >"$work/out" 3<&-
		trap - ERR
		;;
	'text:```') in=''; compare "$text"; : >"$work/out" ;;
	sh:*) commands+=$line$'\n' ;;
	text:*) text+=$line$'\n' ;;
	esac
done 3<"$root/docs/aws-cli.md"
compare ''
test $blocks -gt 0
echo "awscli: $blocks blocks of docs/aws-cli.md ok"
