package agent

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// badInput is what each generation makes of input that no honest cloud sends. The columns: the
// input, then what afr-v1.4.x, ota-v3.0.0, ota-b36db646 and ota-v3.4.1, ota-main and ideal do, "=" the same as the one before:
// the state, the statuses, whether a slot was erased or a block written, and whether the program died (C19). Blocks are of 256
// bytes, of a file of three.
const badInput = `
100 more values | Ready | WaitingForFileBlock, slot | = | = | =
100000 blocks | Active, slot | WaitingForJob, dies | = | WaitingForJob | WaitingForJob, FAILED 0x0000000c: 0x00000005
1025 blocks | Active, slot | WaitingForJob, dies | = | WaitingForJob | WaitingForJob, FAILED 0x0000000c: 0x00000005
31 levels | Active, slot | WaitingForFileBlock, slot | = | = | =
33 levels | Ready | WaitingForJob | = | = | =
NUL in the stream's name | Ready | WaitingForJob | = | = | =
another job's kind | Ready, FAILED 0x24000000: 0x00000005 | WaitingForJob, FAILED 0x0000000c: 0x00000004 | = | = | WaitingForJob
block: 100 kB | Ready, FAILED 0x27000000: 0xfffffff8 | WaitingForJob, FAILED 0xe0000000: 0xfffffff8 | WaitingForJob, FAILED 0x000000e0: 0x00000000 | = | =
block: 5000 nested lists | Ready, FAILED 0x27000000: 0xfffffff8 | WaitingForJob, FAILED 0xe0000000: 0xfffffff8 | WaitingForJob, FAILED 0x000000e0: 0x00000000 | = | =
block: 5000 nested maps | Ready, FAILED 0x27000000: 0xfffffff8 | WaitingForJob, FAILED 0xe0000000: 0xfffffff8 | WaitingForJob, FAILED 0x000000e0: 0x00000000 | = | =
block: behind the end | Ready, FAILED 0x27000000: 0xfffffff9 | WaitingForJob, FAILED 0xe0000000: 0xfffffff9 | WaitingForJob, FAILED 0x000000e0: 0x00000000 | = | =
block: empty | Ready, FAILED 0x27000000: 0xfffffff8 | WaitingForJob, FAILED 0xe0000000: 0xfffffff8 | WaitingForJob, FAILED 0x000000e0: 0x00000000 | = | =
block: endless map | Ready, FAILED 0x27000000: 0xfffffff8 | WaitingForJob, FAILED 0xe0000000: 0xfffffff8 | WaitingForJob, FAILED 0x000000e0: 0x00000000 | = | =
block: index -1 | Ready, FAILED 0x27000000: 0xfffffff9 | WaitingForJob, FAILED 0xe0000000: 0xfffffff9 | WaitingForJob, FAILED 0x000000e0: 0x00000000 | = | =
block: index 2^31-1 | Ready, FAILED 0x27000000: 0xfffffff9 | WaitingForJob, FAILED 0xe0000000: 0xfffffff9 | WaitingForJob, FAILED 0x000000e0: 0x00000000 | = | =
block: index is text | Ready, FAILED 0x27000000: 0xfffffff8 | WaitingForJob, FAILED 0xe0000000: 0xfffffff8 | WaitingForJob, FAILED 0x000000e0: 0x00000000 | = | =
block: map of 2^32-1 entries | Ready, FAILED 0x27000000: 0xfffffff8 | WaitingForJob, FAILED 0xe0000000: 0xfffffff8 | WaitingForJob, FAILED 0x000000e0: 0x00000000 | = | =
block: map of 2^64-1 entries | Ready, FAILED 0x27000000: 0xfffffff8 | WaitingForJob, FAILED 0xe0000000: 0xfffffff8 | WaitingForJob, FAILED 0x000000e0: 0x00000000 | = | =
block: no map | Ready, FAILED 0x27000000: 0xfffffff8 | WaitingForJob, FAILED 0xe0000000: 0xfffffff8 | WaitingForJob, FAILED 0x000000e0: 0x00000000 | = | =
block: no payload | Ready, FAILED 0x27000000: 0xfffffff8 | WaitingForJob, FAILED 0xe0000000: 0xfffffff8 | WaitingForJob, FAILED 0x000000e0: 0x00000000 | = | =
block: one byte too long | Ready, FAILED 0x27000000: 0xfffffff9 | WaitingForJob, FAILED 0xe0000000: 0xfffffff8 | WaitingForJob, FAILED 0x000000e0: 0x00000000 | = | =
block: one byte too short | Ready, FAILED 0x27000000: 0xfffffff9 | WaitingForJob, FAILED 0xe0000000: 0xfffffff9 | WaitingForJob, FAILED 0x000000e0: 0x00000000 | = | =
block: payload longer than told | Active, written | WaitingForJob, FAILED 0xe0000000: 0xfffffff8 | WaitingForJob, FAILED 0x000000e0: 0x00000000 | = | =
block: payload too short | Active, written | WaitingForFileBlock, written | WaitingForFileBlock, IN_PROGRESS, written | = | WaitingForJob, FAILED 0x000000e0: 0x00000000
block: string of 2^64-1 bytes | Ready, FAILED 0x27000000: 0xfffffff8 | WaitingForJob, FAILED 0xe0000000: 0xfffffff8 | WaitingForJob, FAILED 0x000000e0: 0x00000000 | = | =
certificate name of 300 | Active, slot | WaitingForJob, FAILED 0x0000000c: 0x00000004 | = | = | =
cut short | Ready | WaitingForJob | = | = | =
garbage behind | Ready | WaitingForFileBlock, slot | = | = | WaitingForJob, FAILED 0x0000000c: 0x00000004
job id of 5000 | Active, slot | WaitingForJob | = | = | WaitingForJob, FAILED 0x0000000c: 0x00000004
job id of 72 | Active, slot | WaitingForFileBlock, slot | = | = | =
job id of 73 | Active, slot | WaitingForJob | = | = | WaitingForJob, FAILED 0x0000000c: 0x00000004
no UTF-8 | Active, slot | WaitingForJob | = | = | =
no signature | Ready, FAILED 0x24000000: 0x00000005 | WaitingForFileBlock, slot | = | = | =
protocols of 20 | Active, slot | WaitingForJob, FAILED 0x0000000c: 0x00000004 | = | = | =
signature is no base64 | Ready, FAILED 0x24000000: 0x00000005 | WaitingForJob, FAILED 0x0000000c: 0x00000004 | = | = | =
signature of 600 | Ready, FAILED 0x24000000: 0x00000005 | WaitingForJob, FAILED 0x0000000c: 0x00000004 | = | = | =
size -1 | Active, slot | WaitingForFileBlock, slot | WaitingForJob | = | WaitingForJob, FAILED 0x0000000c: 0x00000005
size 0 | Ready, FAILED 0x24000000: 0x00000004 | WaitingForJob | = | = | WaitingForJob, FAILED 0x0000000c: 0x00000003
size 1e6 | Ready, FAILED 0x24000000: 0x00000005 | WaitingForJob, FAILED 0x0000000c: 0x00000004 | = | = | =
size 4294967296 | Active, slot | WaitingForJob, FAILED 0x0000000c: 0x00000004 | = | = | =
size quoted | Ready, FAILED 0x24000000: 0x00000005 | WaitingForFileBlock, slot | = | = | =
stream of 300 | Ready | WaitingForJob, FAILED 0x0000000c: 0x00000004 | = | = | =
two files | Ready, FAILED 0x24000000: 0x00000005 | WaitingForFileBlock, slot | = | = | =
unknown protocol | Active, slot | CreatingFile, FAILED aborted: 0x0000000d, slot | = | = | WaitingForJob, FAILED 0x0000000d: 0x00000000
`

var hostile = map[string]string{
	"job id of 72":             "AFR_OTA-1>" + strings.Repeat("J", 72),
	"job id of 73":             "AFR_OTA-1>" + strings.Repeat("J", 73),
	"job id of 5000":           "AFR_OTA-1>" + strings.Repeat("J", 5000),
	"stream of 300":            "s-1>" + strings.Repeat("s", 300),
	"protocols of 20":          `["MQTT"]>["MQTT","HTTP23456"]`,
	"certificate name of 300":  "/cert.pem>" + strings.Repeat("c", 300),
	"signature of 600":         goodSignature + ">" + strings.Repeat("AAAA", 200),
	"signature is no base64":   goodSignature + ">" + "%%%%",
	"no signature":             `,"sig-sha256-ecdsa":"` + goodSignature + `">`,
	"size 0":                   "300>0",
	"size quoted":              `300>"300"`,
	"size -1":                  "300>-1",
	"size 4294967296":          "300>4294967296",
	"size 1e6":                 "300>1e6",
	"1025 blocks":              "300>262400",
	"100000 blocks":            "300>25600000",
	"two files":                `}]>},{"filepath":"b","filesize":1,"fileid":1,"certfile":"c","sig-sha256-ecdsa":"` + goodSignature + `"}]`,
	"unknown protocol":         `["MQTT"]>["CoAP"]`,
	"100 more values":          `"timestamp":1602795143>"timestamp":[` + strings.Repeat("1,", 99) + `1]`,
	"31 levels":                `"timestamp":1602795143>"timestamp":` + strings.Repeat("[", 31) + strings.Repeat("]", 31),
	"33 levels":                `"timestamp":1602795143>"timestamp":` + strings.Repeat("[", 33) + strings.Repeat("]", 33),
	"another job's kind":       `"afr_ota">"reboot"`,
	"garbage behind":           `}]}}}}>}]}}}}x`,
	"cut short":                `}]}}}}>`,
	"no UTF-8":                 "fw.bin>\xff\xfe",
	"NUL in the stream's name": "s-1>s\x00-1",
}

var hostileBlocks = map[string][]byte{
	"block: empty":                    {},
	"block: no map":                   {0x80},
	"block: map of 2^32-1 entries":    {0xba, 0xff, 0xff, 0xff, 0xff, 0x61, 'f', 0},
	"block: map of 2^64-1 entries":    {0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x61, 'f', 0},
	"block: string of 2^64-1 bytes":   {0xa4, 0x61, 'f', 0, 0x61, 'i', 0, 0x61, 'l', 1, 0x61, 'p', 0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	"block: 5000 nested maps":         []byte(strings.Repeat("\xa1", 5000)),
	"block: 5000 nested lists":        append([]byte{0xa5, 0x61, 'x'}, []byte(strings.Repeat("\x9f", 5000))...),
	"block: endless map":              {0xbf, 0x61, 'f', 0},
	"block: no payload":               {0xa3, 0x61, 'f', 0, 0x61, 'i', 0, 0x61, 'l', 1},
	"block: index is text":            {0xa4, 0x61, 'f', 0, 0x61, 'i', 0x61, '0', 0x61, 'l', 1, 0x61, 'p', 0x41, 0},
	"block: index -1":                 {0xa4, 0x61, 'f', 0, 0x61, 'i', 0x20, 0x61, 'l', 1, 0x61, 'p', 0x41, 0},
	"block: behind the end":           blockOf(3, 256, 256),
	"block: index 2^31-1":             blockOf(1<<31-1, 256, 256),
	"block: one byte too long":        blockOf(0, 257, 257),
	"block: one byte too short":       blockOf(0, 255, 255),
	"block: payload too short":        blockOf(0, 256, 100),
	"block: payload longer than told": blockOf(0, 256, 300),
	"block: 100 kB":                   blockOf(0, 256, 100_000),
}

// suffer is what an agent does with the input.
func suffer(profile *Profile, input string) string {
	p := &scribe{fake: fake{cfg: DefaultConfig(profile), platform: PlatformValid, written: map[uint32]bool{}}}
	p.cfg.Log2Block = 8
	a := New(&p.cfg, "dev", 0x10002)
	a.Initialise(p)
	a.Signal(p, Start, nil)
	a.Process(p, -1)
	if block, ok := hostileBlocks[input]; ok {
		a.Signal(p, ReceivedJobDocument, document("300", "600"))
		a.Process(p, -1)
		p.log, p.did = nil, nil
		a.Signal(p, ReceivedFileBlock, block)
	} else {
		old, edit, _ := strings.Cut(hostile[input], ">")
		a.Signal(p, ReceivedJobDocument, document(old, edit))
	}
	a.Process(p, -1)
	did := a.state.String()
	for _, line := range p.log {
		if rest, ok := strings.CutPrefix(line, "status "); ok {
			job, text, _ := strings.Cut(rest, ` {"status":"`)
			status, text, _ := strings.Cut(text, `"`)
			_, text, _ = strings.Cut(text, `"reason":"`)
			if text, _, _ = strings.Cut(text, `"`); job == "" {
				status += " (no job)"
			}
			did += ", " + strings.TrimSpace(status+" "+text)
		}
	}
	for _, what := range p.did {
		switch what {
		case "create":
			did += ", slot"
		case "write":
			did += ", written"
		}
	}
	if a.Crash != "" {
		did += ", dies"
	}
	return did
}

func TestBadInput(t *testing.T) {
	require.Equal(t, len(hostile)+len(hostileBlocks), strings.Count(badInput, "\n")-1)
	columns := [][]*Profile{{AFR140, AFR142}, {V300}, {B36DB646, V341}, {Main}, {Ideal}}
	for line := range strings.SplitSeq(strings.TrimSpace(badInput), "\n") {
		c := cut(line)
		require.Len(t, c, len(columns)+1, line)
		for i, profiles := range columns {
			if c[i+1] == "=" {
				c[i+1] = c[i]
			}
			for _, p := range profiles {
				require.Equal(t, c[i+1], suffer(p, c[0]), "%s: %s", p.Name, c[0])
			}
		}
	}
}
